// C entry points of the inference engine. As extern "C", one that differs from engine_api.h does not compile.
#include "engine/engine_api.h"

#include <exception>
#include <memory>
#include <new>
#include <string>

#include "engine/engine_document.hpp"

struct EquipotEngine {
  std::unique_ptr<equipot::EngineBase> base;
};

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

EQUIPOT_API const char* equipot_engine_error() { return last_error.c_str(); }

EQUIPOT_API EquipotEngine* equipot_engine_load(const char* bytes, int64_t size) {
  EquipotEngine* engine = nullptr;
  guarded([&] { engine = new EquipotEngine{equipot::build_engine(bytes, size)}; });
  return engine;
}

EQUIPOT_API void equipot_engine_destroy(EquipotEngine* engine) { delete engine; }

EQUIPOT_API double equipot_engine_cutoff(const EquipotEngine* engine) { return engine->base->settings.cutoff; }
EQUIPOT_API int64_t equipot_engine_num_species(const EquipotEngine* engine) { return engine->base->num_species; }
EQUIPOT_API int equipot_engine_is_double(const EquipotEngine* engine) { return engine->base->is_double() ? 1 : 0; }
EQUIPOT_API int64_t equipot_engine_bytes(const EquipotEngine* engine) { return engine->base->bytes(); }

EQUIPOT_API int equipot_engine_set_list(EquipotEngine* engine, int64_t num_atoms, const int32_t* species,
                                        int64_t num_edges, const int64_t* center, const int64_t* neighbor,
                                        const int64_t* shift, const double* positions, const double* cell) {
  return guarded([&] {
    engine->base->structure.set_list({num_atoms, num_edges, species, center, neighbor, shift, positions, cell});
  });
}

EQUIPOT_API int equipot_engine_set_points(EquipotEngine* engine, int64_t num_atoms, int64_t num_nodes,
                                          int64_t num_points, const int32_t* species, const int32_t* atom_point,
                                          const int32_t* point_node, const int64_t* start, const int32_t* point,
                                          const double* positions, const int64_t** places) {
  return guarded([&] {
    engine->base->structure.set_points(
        {num_atoms, num_nodes, num_points, species, atom_point, point_node, start, point, positions});
    *places = engine->base->structure.places();
  });
}

EQUIPOT_API int equipot_engine_update(EquipotEngine* engine, const double* positions, const double* cell,
                                      int num_threads, int64_t* closest_pair, double* closest_distance) {
  return guarded([&] {
    equipot::Structure& structure = engine->base->structure;
    structure.update(positions, cell, engine->base->settings.cutoff, num_threads);
    const equipot::ClosestPair& closest = structure.closest();
    closest_pair[0] = closest.i;
    closest_pair[1] = closest.j;
    *closest_distance = closest.distance;
  });
}

EQUIPOT_API int equipot_engine_run(EquipotEngine* engine, int num_threads, double* node_energy, double* forces,
                                   double* virial, double* node_virial, double* centroid_virial,
                                   EquipotExchange exchange, void* context) {
  return guarded([&] {
    engine->base->run({node_energy, forces, virial, node_virial, centroid_virial}, num_threads, {exchange, context});
  });
}
