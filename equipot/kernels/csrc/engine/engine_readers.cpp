// The readers of a document's records, and the table of their names.
#include "engine/engine_readers.hpp"

#include <algorithm>

namespace equipot {
namespace {

// Before any operation: the form of the radial tables. Break interval, -1: splines in one piece; number of tables;
// (num_species, num_species) which of them serves a pair, or nothing: one table serves every pair.
template <class T>
void read_tables(Engine<T>& engine, Record& record) {
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

template <class T>
std::vector<T> copy(const double* numbers, int64_t size) {
  return {numbers, numbers + size};
}

// A new stage, with harmonics up to the highest order it couples with.
template <class T>
Stage<T>& begin_stage(Engine<T>& engine, int output, const Density& density, int l_max) {
  Stage<T>& stage = engine.program().add_stage();
  stage.settings = engine.settings;
  stage.settings.l_max = l_max;
  stage.output = output;
  stage.density = density.buffer;
  if (density.buffer >= 0) stage.density_table = copy<T>(density.table, engine.settings.num_rows());
  return stage;
}

template <class T>
void read_embedding(Engine<T>& engine, Record& record) {
  const int output = int(record.integer());
  const int64_t l_max = record.integer(), num_radial = record.integer();
  if (l_max < 0 || l_max > engine.settings.l_max || num_radial < 1 ||
      engine.program().dim(output) != engine.num_species * (l_max + 1) * (l_max + 1) * num_radial)
    refuse("the sizes of its embedding");
  const double* table = record.reals(engine.settings.num_rows() * num_radial);
  const Density density = read_density(engine, record);
  Stage<T>& stage = begin_stage(engine, output, density, int(l_max));
  stage.embedding = std::make_unique<EmbeddingConvolution<T>>(
      num_radial, engine.num_species, copy<T>(table, engine.settings.num_rows() * num_radial));
}

template <class T>
void read_convolution(Engine<T>& engine, Record& record) {
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
  if (l_max > engine.settings.l_max || input_dim != engine.program().dim(input) || output_dim != engine.program().dim(output) ||
      !make_plan(int(l_max), input_dim, output_dim, num_weights, num_paths, paths, record.reals(num_coefficients), plan))
    refuse("the paths of its convolution");
  const double* table = record.reals(engine.settings.num_rows() * num_weights);
  const Density density = read_density(engine, record);
  int highest = 0;
  for (const ConvolutionPath& path : plan.paths) highest = std::max(highest, path.l2);
  Stage<T>& stage = begin_stage(engine, output, density, highest);
  stage.plan = plan;
  stage.turned = reversed(plan);
  stage.table = copy<T>(table, engine.settings.num_rows() * plan.num_weights);
  if (ScalarConvolution<T>::serves(plan)) stage.scalar = std::make_unique<ScalarConvolution<T>>(plan, stage.table);
  stage.input = input;
}

template <class T>
void read_linear(Engine<T>& engine, Record& record) {
  const int input = int(record.integer()), output = int(record.integer());
  const int64_t num_sets = record.integer(), set_size = record.integer(), num_blocks = record.integer();
  if (num_sets != 1 && num_sets != engine.num_species) refuse("the sets of a linear map");
  std::vector<LinearBlock> blocks;
  for (int64_t n = 0; n < num_blocks; ++n) {
    const int64_t* b = record.integers(6);
    const LinearBlock block{b[0], b[1], b[2], b[3], b[4], b[5]};
    if (std::any_of(b, b + 6, [](int64_t value) { return value < 0; }) ||
        block.in_offset + block.components * block.in_channels > engine.program().dim(input) ||
        block.out_offset + block.components * block.out_channels > engine.program().dim(output) ||
        block.weight_offset + block.in_channels * block.out_channels > set_size)
      refuse("the blocks of a linear map");
    blocks.push_back(block);
  }
  engine.program().add(std::make_unique<Linear<T>>(
      input, engine.program().dim(input), output, engine.program().dim(output), std::move(blocks), num_sets,
      copy<T>(record.reals(num_sets * set_size), num_sets * set_size)));
}

template <class T>
void read_gate(Engine<T>& engine, Record& record) {
  const int input = int(record.integer()), output = int(record.integer());
  std::vector<GateItem> items;
  for (int64_t n = record.integer(); n > 0; --n) {
    const int64_t* i = record.integers(6);
    const GateItem item{i[0], i[1], i[2], i[3], i[4], i[5]};
    if (std::any_of(i, i + 6, [](int64_t value) { return value < 0; }) || i[0] > 2 ||
        i[1] + i[3] * i[4] > engine.program().dim(input) || i[2] + i[3] * i[4] > engine.program().dim(output) ||
        i[5] + i[4] > engine.program().dim(input))
      refuse("the items of a gate");
    items.push_back(item);
  }
  engine.program().add(std::make_unique<Gate<T>>(input, engine.program().dim(input), output,
                                                 engine.program().dim(output), std::move(items)));
}

template <class T>
void read_product(Engine<T>& engine, Record& record) {
  const int input = int(record.integer()), output = int(record.integer());
  const int64_t channels = record.integer();
  ProductBasisProgram program = read_product_basis_program(record);
  if (channels < 1 || program.num_inputs * channels != engine.program().dim(input) ||
      program.num_outputs * channels != engine.program().dim(output))
    refuse("the sizes of a product basis");
  const int64_t size = engine.num_species * program.num_paths * channels;
  const std::vector<T> weights = copy<T>(record.reals(size), size);
  engine.program().add(
      std::make_unique<Product<T>>(input, output, std::move(program), channels, engine.num_species, weights));
}

template <class T>
void read_readout(Engine<T>& engine, Record& record) {
  const int input = int(record.integer());
  const int64_t offset = record.integer(), size = record.integer();
  if (offset < 0 || size < 0 || offset + size > engine.program().dim(input)) refuse("the size of a readout");
  engine.program().add(
      std::make_unique<Readout<T>>(input, engine.program().dim(input), offset, copy<T>(record.reals(size), size)));
}

template <class T>
void read_invariants(Engine<T>& engine, Record& record) {
  const int input = int(record.integer()), output = int(record.integer());
  std::vector<InvariantBlock> blocks;
  int64_t read = 0, written = 0;
  for (int64_t n = record.integer(); n > 0; --n) {
    const InvariantBlock block{record.integer(), record.integer()};
    if (block.components < 1 || block.components > 64 || block.channels < 1 || block.channels > engine.program().dim(output))
      refuse("the blocks of invariants");
    read += block.components * block.channels;
    written += block.channels;
    blocks.push_back(block);
  }
  if (read != engine.program().dim(input) || written != engine.program().dim(output)) refuse("the sizes of invariants");
  engine.program().add(std::make_unique<Invariants<T>>(input, output, std::move(blocks)));
}

template <class T>
void read_buffer(Engine<T>& engine, Record& record) {
  const int64_t dim = record.integer();
  if (dim < 1) refuse("the size of a buffer");
  engine.program().add_buffer(dim);
}

template <class T>
void read_repulsion(Engine<T>& engine, Record& record) {
  // Exponent of the charges, screening length, strength (eV Angstrom), four weights, four decays, power of the envelope.
  engine.terms.pair = RepulsionConstants(record.reals(12));
}

template <class T>
void read_rows(Engine<T>& engine, Record& record) {
  const int output = int(record.integer());
  const int64_t dim = engine.program().dim(output), size = engine.num_species * dim;
  engine.program().add(std::make_unique<SpeciesRows<T>>(output, dim, copy<T>(record.reals(size), size)));
}

template <class T>
void read_density_scale(Engine<T>& engine, Record& record) {
  const int input = int(record.integer()), density = int(record.integer()), output = int(record.integer());
  engine.program().add(std::make_unique<DensityScale<T>>(input, density, output, engine.program().dim(output)));
}

template <class T>
void read_finish(Engine<T>& engine, Record& record) {
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

template <class T>
struct Reader {
  const char* name;
  void (*read)(Engine<T>& engine, Record& record);
};

// A new kind of record is a reader and a row.
template <class T>
constexpr Reader<T> readers[] = {
    {"tables", read_tables<T>},
    {"buffer", read_buffer<T>},
    {"embedding", read_embedding<T>},
    {"convolution", read_convolution<T>},
    {"rows", read_rows<T>},
    {"linear", read_linear<T>},
    {"gate", read_gate<T>},
    {"density_scale", read_density_scale<T>},
    {"product", read_product<T>},
    {"invariants", read_invariants<T>},
    {"readout", read_readout<T>},
    {"repulsion", read_repulsion<T>},
    {"finish", read_finish<T>},
};

}  // namespace

template <class T>
void read_record(Engine<T>& engine, Record& record) {
  for (const Reader<T>& reader : readers<T>)
    if (record.name == reader.name) return reader.read(engine, record);
  throw std::invalid_argument("the engine has no operation " + record.name);
}

template void read_record(Engine<float>&, Record&);
template void read_record(Engine<double>&, Record&);

}  // namespace equipot
