// One record of a document, its numbers taken one after the other.
#pragma once

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

namespace equipot {

[[noreturn]] inline void refuse(const std::string& reason) { throw std::invalid_argument("the program is damaged: " + reason); }

// One record; integers and reals are taken one after the other.
class Record {
 public:
  Record(std::string name, const char* payload, int64_t num_integers, int64_t num_reals)
      : name(std::move(name)), integers_(num_integers), reals_(num_reals) {
    // Copied: the document need not be aligned.
    std::memcpy(integers_.data(), payload, size_t(num_integers) * sizeof(int64_t));
    std::memcpy(reals_.data(), payload + size_t(num_integers) * sizeof(int64_t), size_t(num_reals) * sizeof(double));
  }

  int64_t integer() { return *integers(1); }
  const int64_t* integers(int64_t count) { return take(integers_, next_integer_, count); }
  double real() { return *reals(1); }
  const double* reals(int64_t count) { return take(reals_, next_real_, count); }

  void check_all_taken() const {
    if (next_integer_ != integers_.size() || next_real_ != reals_.size()) refuse(name + " has too many numbers");
  }

  std::string name;

 private:
  template <class Number>
  const Number* take(const std::vector<Number>& numbers, size_t& next, int64_t count) {
    if (count < 0 || size_t(count) > numbers.size() - next) refuse(name + " has too few numbers");
    next += size_t(count);
    return numbers.data() + next - size_t(count);
  }

  std::vector<int64_t> integers_;
  std::vector<double> reals_;
  size_t next_integer_ = 0, next_real_ = 0;
};

}  // namespace equipot
