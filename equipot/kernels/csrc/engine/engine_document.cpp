// Reading a document into an engine.
#include "engine/engine_document.hpp"

#include <cstring>
#include <stdexcept>
#include <string>

#include "engine/engine_readers.hpp"

namespace equipot {
namespace {

constexpr char magic[] = "equipot1";
constexpr int64_t magic_size = 8, name_size = 16;

class Records {
 public:
  Records(const char* bytes, int64_t size) : at_(bytes), left_(size) {
    if (size < magic_size || std::memcmp(bytes, magic, size_t(magic_size)) != 0)
      refuse("it does not begin with " + std::string(magic));
    skip(magic_size);
  }

  bool is_empty() const { return left_ == 0; }

  Record next() {
    constexpr int64_t head = name_size + 2 * int64_t(sizeof(int64_t));
    if (left_ < head) refuse("it ends within a record");
    char name[name_size + 1] = {};
    int64_t counts[2];
    std::memcpy(name, at_, size_t(name_size));
    std::memcpy(counts, at_ + name_size, sizeof(counts));
    skip(head);
    const int64_t room = left_ / 8;
    if (counts[0] < 0 || counts[1] < 0 || counts[0] > room || counts[1] > room - counts[0])
      refuse("it ends within a record");
    const char* payload = at_;
    skip(8 * (counts[0] + counts[1]));
    return {name, payload, counts[0], counts[1]};
  }

 private:
  void skip(int64_t bytes) {
    at_ += bytes;
    left_ -= bytes;
  }

  const char* at_;
  int64_t left_;
};

// What the first record says.
struct Head {
  bool is_double;
  int64_t num_species, tile;
  EdgeSettings settings;
};

Head read_head(Record& record) {
  const bool is_double = record.integer() != 0;
  const int64_t num_species = record.integer(), l_max = record.integer(), num_intervals = record.integer(),
                tile = record.integer(), lanes_needed = record.integer();
  const EdgeSettings settings{int(l_max), int(num_intervals), record.real()};
  record.check_all_taken();
  if (num_species < 1 || l_max < 0 || num_intervals < 1 || tile < 1 || !(settings.cutoff > 0)) refuse("its sizes");
  if (l_max > max_l) throw std::invalid_argument("the engine has no harmonics of order " + std::to_string(l_max));
  const int lanes_here = is_double ? lanes<double> : lanes<float>;
  if (lanes_needed % lanes_here != 0)
    throw std::invalid_argument("the program was made for registers of " + std::to_string(lanes_needed) +
                                " numbers, those of this machine hold " + std::to_string(lanes_here));
  return {is_double, num_species, tile, settings};
}

template <class T>
std::unique_ptr<EngineBase> build(const Head& head, Records& records) {
  auto engine = std::make_unique<Engine<T>>(head.settings, head.num_species, head.tile);
  std::string last;
  while (!records.is_empty()) {
    Record record = records.next();
    if (last == "finish") refuse("something comes after its end");
    read_record(*engine, record);
    record.check_all_taken();
    last = record.name;
  }
  if (last != "finish") refuse("it does not come to its end");
  return engine;
}

}  // namespace

std::unique_ptr<EngineBase> build_engine(const char* bytes, int64_t size) {
  Records records(bytes, size);
  if (records.is_empty()) refuse("it is empty");
  Record first = records.next();
  if (first.name != "engine") refuse("its first record is " + first.name);
  const Head head = read_head(first);
  if (head.is_double) return build<double>(head, records);
  return build<float>(head, records);
}

}  // namespace equipot
