// C entry points of the inference engine.
#include <exception>
#include <string>

#include "engine/engine_document.hpp"

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

// From a document (engine_document.hpp); null where it is refused.
EQUIPOT_API EngineBase* equipot_engine_load(const char* bytes, int64_t size) {
  EngineBase* engine = nullptr;
  guarded([&] { engine = equipot::build_engine(bytes, size).release(); });
  return engine;
}

EQUIPOT_API void equipot_engine_destroy(EngineBase* engine) { delete engine; }

EQUIPOT_API double equipot_engine_cutoff(const EngineBase* engine) { return engine->settings.cutoff; }
EQUIPOT_API int64_t equipot_engine_num_species(const EngineBase* engine) { return engine->num_species; }
EQUIPOT_API int equipot_engine_is_double(const EngineBase* engine) { return engine->is_double() ? 1 : 0; }

// A new list with skin; see SkinList.
EQUIPOT_API int equipot_engine_set_list(EngineBase* engine, int64_t num_atoms, const int32_t* species,
                                        int64_t num_edges, const int64_t* center, const int64_t* neighbor,
                                        const int64_t* shift, const double* positions, const double* cell) {
  return guarded([&] {
    engine->structure.set_list({num_atoms, num_edges, species, center, neighbor, shift, positions, cell});
  });
}

// A new list of points; see PointList. Gives the engine's number of each node, which is its row in an exchange; valid
// until the next list.
EQUIPOT_API int equipot_engine_set_points(EngineBase* engine, int64_t num_atoms, int64_t num_nodes, int64_t num_points,
                                          const int32_t* species, const int32_t* atom_point, const int32_t* point_node,
                                          const int64_t* start, const int32_t* point, const double* positions,
                                          const int64_t** places) {
  return guarded([&] {
    engine->structure.set_points(
        {num_atoms, num_nodes, num_points, species, atom_point, point_node, start, point, positions});
    *places = engine->structure.places();
  });
}

// The vectors of the last list at these positions (of atoms, or of points) and this cell (null with points). Gives the
// nearest two atoms (points) of the list and their distance.
EQUIPOT_API int equipot_engine_update(EngineBase* engine, const double* positions, const double* cell, int num_threads,
                                      int64_t* closest_pair, double* closest_distance) {
  return guarded([&] {
    engine->structure.update(positions, cell, engine->settings.cutoff, num_threads);
    const equipot::ClosestPair& closest = engine->structure.closest();
    closest_pair[0] = closest.i;
    closest_pair[1] = closest.j;
    *closest_distance = closest.distance;
  });
}

// Evaluates the structure as it was last updated. Results that are null are not computed: node_energy (num_atoms),
// forces (num_atoms, 3), virial (3, 3), node_virial (num_atoms, 3, 3); with a list of points forces and node_virial are
// by point, and added to. `exchange` fills the halo (see Exchange); null where there is none.
EQUIPOT_API int equipot_engine_run(EngineBase* engine, int num_threads, double* node_energy, double* forces,
                                   double* virial, double* node_virial, void (*exchange)(void*, void*, int64_t),
                                   void* context) {
  return guarded([&] { engine->run({node_energy, forces, virial, node_virial}, num_threads, {exchange, context}); });
}

EQUIPOT_API int64_t equipot_engine_bytes(const EngineBase* engine) { return engine->bytes(); }
