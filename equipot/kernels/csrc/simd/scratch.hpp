// Working memory of a thread that is kept between calls: fresh pages cost more than the arithmetic done in them.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <new>

namespace equipot {

// A growing, 64-byte aligned block of T. Contents are undefined after reserve() and never constructed.
template <class T>
class Scratch {
 public:
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { std::free(data_); }

  T* reserve(int64_t count) {
    if (count > capacity_) {
      std::free(data_);
      data_ = nullptr;
      capacity_ = 0;
      const size_t bytes = (size_t(count) * sizeof(T) * 5 / 4 + 127) / 64 * 64;
      data_ = static_cast<T*>(std::aligned_alloc(64, bytes));
      if (data_ == nullptr) throw std::bad_alloc();
      capacity_ = int64_t(bytes / sizeof(T));
    }
    return data_;
  }

  T* data() const { return data_; }

 private:
  T* data_ = nullptr;
  int64_t capacity_ = 0;
};

}  // namespace equipot
