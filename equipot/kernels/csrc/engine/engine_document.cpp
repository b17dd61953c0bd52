// Reading a document into an engine.
#include "engine/engine_document.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

namespace equipot {
namespace {

constexpr char magic[] = "equipot1";
constexpr int64_t magic_size = 8, name_size = 16;

[[noreturn]] void refuse(const std::string& reason) { throw std::invalid_argument("the program is damaged: " + reason); }

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

std::unique_ptr<EngineBase> create(Record& record) {
  const bool is_double = record.integer() != 0;
  const int64_t num_species = record.integer(), l_max = record.integer(), num_intervals = record.integer(),
                tile = record.integer(), lanes_needed = record.integer();
  const EdgeSettings settings{int(l_max), int(num_intervals), record.real()};
  if (num_species < 1 || l_max < 0 || num_intervals < 1 || tile < 1 || !(settings.cutoff > 0)) refuse("its sizes");
  if (l_max > max_l) throw std::invalid_argument("the engine has no harmonics of order " + std::to_string(l_max));
  const int lanes_here = is_double ? lanes<double> : lanes<float>;
  if (lanes_needed % lanes_here != 0)
    throw std::invalid_argument("the program was made for registers of " + std::to_string(lanes_needed) +
                                " numbers, those of this machine hold " + std::to_string(lanes_here));
  if (is_double) return std::make_unique<Engine<double>>(settings, num_species, tile);
  return std::make_unique<Engine<float>>(settings, num_species, tile);
}

// Before any operation: the form of the radial tables. Break interval, -1: splines in one piece; number of tables;
// (num_species, num_species) which of them serves a pair, or nothing: one table serves every pair.
void read_tables(EngineBase& engine, Record& record) {
  EdgeSettings& settings = engine.settings;
  const int64_t break_interval = record.integer(), num_tables = record.integer(), count = record.integer();
  if (break_interval < -1 || break_interval == 0 || break_interval >= settings.num_intervals)
    refuse("the break of its splines");
  settings.break_interval = int(break_interval);
  if (count == 0) return;
  const int64_t* table = record.integers(count);
  if (count != engine.num_species * engine.num_species ||
      std::any_of(table, table + count, [&](int64_t t) { return t < 0 || t >= num_tables; }))
    refuse("the tables of its pairs");
  settings.num_species = engine.num_species;
  settings.num_tables = num_tables;
  settings.table_of_pair.assign(table, table + count);
}

struct Density {
  int buffer;
  const double* table;
};

Density read_density(EngineBase& engine, Record& record) {
  const int buffer = int(record.integer());
  return {buffer, buffer < 0 ? nullptr : record.reals(engine.settings.num_rows())};
}

void read_embedding(EngineBase& engine, Record& record) {
  const int output = int(record.integer());
  const int64_t l_max = record.integer(), num_radial = record.integer();
  if (l_max < 0 || l_max > engine.settings.l_max || num_radial < 1 ||
      engine.dim(output) != engine.num_species * (l_max + 1) * (l_max + 1) * num_radial)
    refuse("the sizes of its embedding");
  const double* table = record.reals(engine.settings.num_rows() * num_radial);
  const Density density = read_density(engine, record);
  engine.add_embedding(output, int(l_max), num_radial, table, density.buffer, density.table);
}

void read_convolution(EngineBase& engine, Record& record) {
  const int input = int(record.integer()), output = int(record.integer());
  const int64_t l_max = record.integer(), input_dim = record.integer(), output_dim = record.integer(),
                num_weights = record.integer(), num_paths = record.integer();
  const int64_t* paths = record.integers(num_paths * plan_path_numbers);
  int64_t num_coefficients = 0;
  for (int64_t n = 0; n < num_paths; ++n) {
    const int64_t* path = paths + n * plan_path_numbers;
    for (int k = 0; k < 3; ++k)
      if (path[k] < 0 || path[k] > convolution_l_max) refuse("the orders of its convolution");
    num_coefficients += (2 * path[0] + 1) * (2 * path[1] + 1) * (2 * path[2] + 1);
  }
  ConvolutionPlan plan;
  if (l_max > engine.settings.l_max || input_dim != engine.dim(input) || output_dim != engine.dim(output) ||
      !make_plan(int(l_max), input_dim, output_dim, num_weights, num_paths, paths, record.reals(num_coefficients), plan))
    refuse("the paths of its convolution");
  const double* table = record.reals(engine.settings.num_rows() * num_weights);
  const Density density = read_density(engine, record);
  engine.add_convolution(plan, input, output, table, density.buffer, density.table);
}

void read_linear(EngineBase& engine, Record& record) {
  const int input = int(record.integer()), output = int(record.integer());
  const int64_t num_sets = record.integer(), set_size = record.integer(), num_blocks = record.integer();
  if (num_sets != 1 && num_sets != engine.num_species) refuse("the sets of a linear map");
  std::vector<LinearBlock> blocks;
  for (int64_t n = 0; n < num_blocks; ++n) {
    const int64_t* b = record.integers(6);
    const LinearBlock block{b[0], b[1], b[2], b[3], b[4], b[5]};
    if (std::any_of(b, b + 6, [](int64_t value) { return value < 0; }) ||
        block.in_offset + block.components * block.in_channels > engine.dim(input) ||
        block.out_offset + block.components * block.out_channels > engine.dim(output) ||
        block.weight_offset + block.in_channels * block.out_channels > set_size)
      refuse("the blocks of a linear map");
    blocks.push_back(block);
  }
  engine.add_linear(input, output, std::move(blocks), num_sets, set_size, record.reals(num_sets * set_size));
}

void read_gate(EngineBase& engine, Record& record) {
  const int input = int(record.integer()), output = int(record.integer());
  std::vector<GateItem> items;
  for (int64_t n = record.integer(); n > 0; --n) {
    const int64_t* i = record.integers(6);
    const GateItem item{i[0], i[1], i[2], i[3], i[4], i[5]};
    if (std::any_of(i, i + 6, [](int64_t value) { return value < 0; }) || i[0] > 2 ||
        i[1] + i[3] * i[4] > engine.dim(input) || i[2] + i[3] * i[4] > engine.dim(output) ||
        i[5] + i[4] > engine.dim(input))
      refuse("the items of a gate");
    items.push_back(item);
  }
  engine.add_gate(input, output, std::move(items));
}

void read_product(EngineBase& engine, Record& record) {
  const int input = int(record.integer()), output = int(record.integer());
  const int64_t channels = record.integer();
  ProductBasisProgram program = read_product_basis_program(record);
  if (channels < 1 || program.num_inputs * channels != engine.dim(input) ||
      program.num_outputs * channels != engine.dim(output))
    refuse("the sizes of a product basis");
  const double* weights = record.reals(engine.num_species * program.num_paths * channels);
  engine.add_product(input, output, std::move(program), channels, weights);
}

void read_readout(EngineBase& engine, Record& record) {
  const int input = int(record.integer());
  const int64_t offset = record.integer(), size = record.integer();
  if (offset < 0 || size < 0 || offset + size > engine.dim(input)) refuse("the size of a readout");
  engine.add_readout(input, offset, size, record.reals(size));
}

void read_finish(EngineBase& engine, Record& record) {
  PotentialTerms& terms = engine.terms;
  const auto by_species = [&] {
    const double* values = record.reals(engine.num_species);
    return std::vector<double>(values, values + engine.num_species);
  };
  terms.cutoff = engine.settings.cutoff;
  terms.has_exact_isolated_atoms = record.integer() != 0;
  terms.has_zbl = record.integer() != 0;
  terms.scale = by_species();
  terms.shift = by_species();
  terms.atomic_energy = by_species();
  if (terms.has_zbl) {
    terms.charge = by_species();
    terms.radius = by_species();
  }
  engine.finish();
}

void read(EngineBase& engine, Record& record) {
  if (record.name == "buffer") {
    const int64_t dim = record.integer();
    if (dim < 1) refuse("the size of a buffer");
    engine.add_buffer(dim);
  } else if (record.name == "tables") {
    read_tables(engine, record);
  } else if (record.name == "repulsion") {
    // Exponent of the charges, screening length, strength (eV Angstrom), four weights, four decays, power of the envelope.
    engine.terms.pair = RepulsionConstants(record.reals(12));
  } else if (record.name == "embedding") {
    read_embedding(engine, record);
  } else if (record.name == "convolution") {
    read_convolution(engine, record);
  } else if (record.name == "rows") {
    const int output = int(record.integer());
    engine.add_rows(output, record.reals(engine.num_species * engine.dim(output)));
  } else if (record.name == "linear") {
    read_linear(engine, record);
  } else if (record.name == "gate") {
    read_gate(engine, record);
  } else if (record.name == "density_scale") {
    const int64_t* buffers = record.integers(3);
    engine.add_density_scale(int(buffers[0]), int(buffers[1]), int(buffers[2]));
  } else if (record.name == "product") {
    read_product(engine, record);
  } else if (record.name == "readout") {
    read_readout(engine, record);
  } else if (record.name == "finish") {
    read_finish(engine, record);
  } else {
    throw std::invalid_argument("the engine has no operation " + record.name);
  }
}

}  // namespace

std::unique_ptr<EngineBase> build_engine(const char* bytes, int64_t size) {
  Records records(bytes, size);
  if (records.is_empty()) refuse("it is empty");
  Record first = records.next();
  if (first.name != "engine") refuse("its first record is " + first.name);
  std::unique_ptr<EngineBase> engine = create(first);
  first.check_all_taken();
  std::string last;
  while (!records.is_empty()) {
    Record record = records.next();
    if (last == "finish") refuse("something comes after its end");
    read(*engine, record);
    record.check_all_taken();
    last = record.name;
  }
  if (last != "finish") refuse("it does not come to its end");
  return engine;
}

}  // namespace equipot
