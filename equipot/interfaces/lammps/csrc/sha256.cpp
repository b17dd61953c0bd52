// SHA-256 of bytes.
#include "sha256.hpp"

#include <cmath>
#include <cstdint>
#include <cstdio>

namespace equipot_lammps {
namespace {

uint32_t rotated(uint32_t x, int n) { return x >> n | x << (32 - n); }

// The constants of FIPS 180-4, 4.2.2 and 5.3.3: first 32 bits of the fractional parts of roots of the first primes.
struct Constants {
  uint32_t round[64], start[8];

  Constants() {
    int found = 0;
    for (int n = 2; found < 64; ++n) {
      bool is_prime = true;
      for (int k = 2; k * k <= n; ++k) is_prime = is_prime && n % k != 0;
      if (!is_prime) continue;
      if (found < 8) start[found] = fraction(std::sqrt((long double)n));
      round[found++] = fraction(std::cbrt((long double)n));
    }
  }

  static uint32_t fraction(long double root) { return uint32_t((root - std::floor(root)) * 4294967296.0L); }
};

class Hash {
 public:
  Hash() {
    for (int k = 0; k < 8; ++k) state_[k] = constants().start[k];
  }

  void add_block(const unsigned char* block) {
    uint32_t w[64];
    for (int k = 0; k < 16; ++k)
      w[k] = uint32_t(block[4 * k]) << 24 | uint32_t(block[4 * k + 1]) << 16 | uint32_t(block[4 * k + 2]) << 8 | block[4 * k + 3];
    for (int k = 16; k < 64; ++k) {
      const uint32_t a = w[k - 15], b = w[k - 2];
      w[k] = w[k - 16] + (rotated(a, 7) ^ rotated(a, 18) ^ a >> 3) + w[k - 7] + (rotated(b, 17) ^ rotated(b, 19) ^ b >> 10);
    }
    uint32_t s[8];
    for (int k = 0; k < 8; ++k) s[k] = state_[k];
    for (int k = 0; k < 64; ++k) {
      const uint32_t e = s[4], a = s[0];
      const uint32_t one = s[7] + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) + ((e & s[5]) ^ (~e & s[6])) +
                           constants().round[k] + w[k];
      const uint32_t two = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
      for (int j = 7; j > 0; --j) s[j] = s[j - 1];
      s[4] += one;
      s[0] = one + two;
    }
    for (int k = 0; k < 8; ++k) state_[k] += s[k];
  }

  std::string digits() const {
    char text[65];
    for (int k = 0; k < 8; ++k) std::snprintf(text + 8 * k, 9, "%08x", state_[k]);
    return text;
  }

 private:
  static const Constants& constants() {
    static const Constants values;
    return values;
  }

  uint32_t state_[8];
};

}  // namespace

std::string sha256(std::string_view bytes) {
  Hash hash;
  const auto* at = reinterpret_cast<const unsigned char*>(bytes.data());
  size_t left = bytes.size();
  for (; left >= 64; at += 64, left -= 64) hash.add_block(at);
  unsigned char last[128] = {};  // the rest, a one, zeros, and the number of bits
  for (size_t k = 0; k < left; ++k) last[k] = at[k];
  last[left] = 0x80;
  const size_t size = left < 56 ? 64 : 128;
  const uint64_t bits = uint64_t(bytes.size()) * 8;
  for (size_t k = 0; k < 8; ++k) last[size - 1 - k] = static_cast<unsigned char>(bits >> (8 * k));
  for (size_t k = 0; k < size; k += 64) hash.add_block(last + k);
  return hash.digits();
}

}  // namespace equipot_lammps
