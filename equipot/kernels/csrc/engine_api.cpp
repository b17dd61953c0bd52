// C entry points of the inference engine. Numbers come in as float64 whatever the engine's own precision.
#include <exception>
#include <stdexcept>
#include <string>

#include "engine.hpp"

namespace {

thread_local std::string last_error;

// Runs the function; 0 for success, 1 where it threw, with the reason kept for equipot_engine_error.
template <class Function>
int guarded(const Function& function) {
  try {
    function();
    return 0;
  } catch (const std::bad_alloc&) {
    last_error = "not enough memory";
  } catch (const std::exception& error) {
    last_error = error.what();
  }
  return 1;
}

}  // namespace

using equipot::EngineBase;

EQUIPOT_API const char* equipot_engine_error() { return last_error.c_str(); }

EQUIPOT_API EngineBase* equipot_engine_create(int is_double, int64_t num_species, double cutoff, int l_max,
                                              int num_intervals, int64_t tile) {
  const equipot::EdgeSettings settings{l_max, num_intervals, cutoff};
  if (l_max < 0 || l_max > equipot::max_l || num_intervals < 1 || num_species < 1 || tile < 1) return nullptr;
  if (is_double != 0) return new equipot::Engine<double>(settings, num_species, tile);
  return new equipot::Engine<float>(settings, num_species, tile);
}

// Before any operation: the form of the radial tables. break_interval -1: splines in one piece; table_of_pair
// (num_species, num_species) with numbers below num_tables, null: one table serves every pair.
EQUIPOT_API int equipot_engine_tables(EngineBase* engine, int break_interval, int64_t num_species, int64_t num_tables,
                                      const int32_t* table_of_pair) {
  return guarded([&] {
    equipot::EdgeSettings& settings = engine->settings;
    if (break_interval == 0 || break_interval >= settings.num_intervals)
      throw std::invalid_argument("the break of the splines is not inside them");
    settings.break_interval = break_interval;
    if (table_of_pair == nullptr) return;
    settings.num_species = num_species;
    settings.num_tables = num_tables;
    settings.table_of_pair.assign(table_of_pair, table_of_pair + num_species * num_species);
  });
}

// The constants of the core repulsion, where they are not the universal ones: exponent of the charges, screening length,
// strength (eV Angstrom), four weights, four decays, power of the envelope.
EQUIPOT_API int equipot_engine_repulsion(EngineBase* engine, const double* constants) {
  return guarded([&] { engine->terms.pair = equipot::RepulsionConstants(constants); });
}

EQUIPOT_API void equipot_engine_destroy(EngineBase* engine) { delete engine; }

// A buffer's number, or -1.
EQUIPOT_API int equipot_engine_buffer(EngineBase* engine, int64_t dim) {
  int buffer = -1;
  guarded([&] { buffer = engine->add_buffer(dim); });
  return buffer;
}

// l_max: of the harmonics summed. table (num_intervals + 3, num_radial); density_table (num_intervals + 3), null with density = -1.
EQUIPOT_API int equipot_engine_embedding(EngineBase* engine, int output, int l_max, int64_t num_radial,
                                         const double* table, int density, const double* density_table) {
  return guarded([&] { engine->add_embedding(output, l_max, num_radial, table, density, density_table); });
}

// The plan is copied. table (num_intervals + 3, num_weights).
EQUIPOT_API int equipot_engine_convolution(EngineBase* engine, const equipot::ConvolutionPlan* plan, int input,
                                           int output, const double* table, int density, const double* density_table) {
  return guarded([&] { engine->add_convolution(*plan, input, output, table, density, density_table); });
}

EQUIPOT_API int equipot_engine_rows(EngineBase* engine, int output, const double* table) {
  return guarded([&] { engine->add_rows(output, table); });
}

// blocks (num_blocks, 6): components, in_offset, in_channels, out_offset, out_channels, weight_offset;
// weights (num_sets, set_size).
EQUIPOT_API int equipot_engine_linear(EngineBase* engine, int input, int output, int64_t num_blocks,
                                      const int64_t* blocks, int64_t num_sets, int64_t set_size,
                                      const double* weights) {
  return guarded([&] {
    std::vector<equipot::LinearBlock> list;
    for (const int64_t* b = blocks; b < blocks + 6 * num_blocks; b += 6)
      list.push_back({b[0], b[1], b[2], b[3], b[4], b[5]});
    engine->add_linear(input, output, std::move(list), num_sets, set_size, weights);
  });
}

// items (num_items, 6): kind (0 silu, 1 tanh, 2 gated), in_offset, out_offset, components, channels, gate_offset.
EQUIPOT_API int equipot_engine_gate(EngineBase* engine, int input, int output, int64_t num_items,
                                    const int64_t* items) {
  return guarded([&] {
    std::vector<equipot::GateItem> list;
    for (const int64_t* i = items; i < items + 6 * num_items; i += 6)
      list.push_back({i[0], i[1], i[2], i[3], i[4], i[5]});
    engine->add_gate(input, output, std::move(list));
  });
}

EQUIPOT_API int equipot_engine_density_scale(EngineBase* engine, int input, int density, int output) {
  return guarded([&] { engine->add_density_scale(input, density, output); });
}

// weights (num_species, num_paths, channels). The program has to outlive the engine.
EQUIPOT_API int equipot_engine_product(EngineBase* engine, int input, int output,
                                       const equipot::ProductBasisProgram* program, int64_t channels,
                                       const double* weights) {
  return guarded([&] { engine->add_product(input, output, *program, channels, weights); });
}

EQUIPOT_API int equipot_engine_readout(EngineBase* engine, int input, int64_t offset, int64_t size,
                                       const double* vector) {
  return guarded([&] { engine->add_readout(input, offset, size, vector); });
}

// Arrays are by species; charge and radius are null without the repulsion.
EQUIPOT_API int equipot_engine_finish(EngineBase* engine, int64_t num_species, const double* scale,
                                      const double* shift, const double* atomic_energy, int has_exact_isolated_atoms,
                                      const double* charge, const double* radius) {
  return guarded([&] {
    equipot::PotentialTerms& terms = engine->terms;
    terms.cutoff = engine->settings.cutoff;
    terms.has_exact_isolated_atoms = has_exact_isolated_atoms != 0;
    terms.scale.assign(scale, scale + num_species);
    terms.shift.assign(shift, shift + num_species);
    terms.atomic_energy.assign(atomic_energy, atomic_energy + num_species);
    terms.has_zbl = charge != nullptr;
    if (terms.has_zbl) {
      terms.charge.assign(charge, charge + num_species);
      terms.radius.assign(radius, radius + num_species);
    }
    engine->finish();
  });
}

// A new list with skin; see SkinList.
EQUIPOT_API int equipot_engine_set_list(EngineBase* engine, int64_t num_atoms, const int32_t* species,
                                        int64_t num_edges, const int64_t* center, const int64_t* neighbor,
                                        const int64_t* shift, const double* positions, const double* cell) {
  return guarded([&] {
    engine->structure.set_list({num_atoms, num_edges, species, center, neighbor, shift, positions, cell});
  });
}

// The structure of the last list at these positions and this cell. Results that are null are not computed:
// node_energy (num_atoms), forces (num_atoms, 3), virial (3, 3), node_virial (num_atoms, 3, 3). Gives the nearest two
// atoms of the list and their distance; where that is below min_distance nothing else is computed.
EQUIPOT_API int equipot_engine_run(EngineBase* engine, const double* positions, const double* cell,
                                   double min_distance, int num_threads, double* node_energy, double* forces,
                                   double* virial, double* node_virial, int64_t* closest_pair,
                                   double* closest_distance) {
  return guarded([&] {
    engine->structure.update(positions, cell, engine->settings.cutoff, num_threads);
    const equipot::ClosestPair& closest = engine->structure.closest();
    closest_pair[0] = closest.i;
    closest_pair[1] = closest.j;
    *closest_distance = closest.distance;
    if (closest.distance < min_distance) return;
    engine->run({node_energy, forces, virial, node_virial, nullptr}, num_threads);
  });
}

// Edges of a caller's own: all nearer than the cutoff, sorted by centre, each in both directions. edge_gradient
// (num_edges, 3): derivatives of the total energy with the edges (i -> j) and (j -> i) taken as one vector and its
// negative, shared between the two in some way, so that atom i feels the force
// sum_e(center = i) edge_gradient_e - sum_e(neighbor = i) edge_gradient_e and the virial is -sum_e vector_e edge_gradient_e.
EQUIPOT_API int equipot_engine_run_edges(EngineBase* engine, int64_t num_atoms, const int32_t* species,
                                         const int64_t* center_ptr, const int64_t* neighbor, const double* vectors,
                                         int num_threads, double* node_energy, double* edge_gradient) {
  return guarded([&] {
    engine->structure.set_edges(num_atoms, species, center_ptr, neighbor, vectors);
    engine->run({node_energy, nullptr, nullptr, nullptr, edge_gradient}, num_threads);
  });
}

EQUIPOT_API int64_t equipot_engine_bytes(const EngineBase* engine) { return engine->bytes(); }
