// The inference engine of equipot's kernels, loaded at run time for the CPU at hand.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine_api.h"

namespace equipot_lammps {

// The folder of this plugin.
std::string own_folder();

// Throws std::runtime_error with a sentence where something is not there.
class EngineLibrary {
 public:
  // The kernels (libequipot_plain.so and others) in the first of these folders that has them; empty names are left out.
  explicit EngineLibrary(const std::vector<std::string>& folders);

  const std::string& instruction_set() const { return instruction_set_; }

  decltype(&equipot_engine_error) error;
  decltype(&equipot_engine_load) load;
  decltype(&equipot_engine_destroy) destroy;
  decltype(&equipot_engine_cutoff) cutoff;
  decltype(&equipot_engine_num_species) num_species;
  decltype(&equipot_engine_is_double) is_double;
  decltype(&equipot_engine_set_points) set_points;
  decltype(&equipot_engine_update) update;
  decltype(&equipot_engine_run) run;
  decltype(&equipot_engine_bytes) bytes;

 private:
  std::string instruction_set_;
};

// One potential in the engine.
class Engine {
 public:
  Engine(std::shared_ptr<const EngineLibrary> library, const std::string& document);
  ~Engine() { library_->destroy(engine_); }
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  double cutoff() const { return library_->cutoff(engine_); }
  int64_t num_species() const { return library_->num_species(engine_); }
  bool is_double() const { return library_->is_double(engine_) != 0; }
  int64_t bytes() const { return library_->bytes(engine_); }
  const EngineLibrary& library() const { return *library_; }

  // eV, of an isolated atom of each species. Takes the structure's place.
  std::vector<double> lone_energies();

  // See engine_api.h. These throw std::runtime_error.
  const int64_t* set_points(const std::vector<int32_t>& species, const std::vector<int32_t>& atom_point,
                            const std::vector<int32_t>& point_node, const std::vector<int64_t>& start,
                            const std::vector<int32_t>& point, const double* positions);
  // The two nearest points and their distance.
  double update(const double* positions, int num_threads, int64_t closest_pair[2]);
  void run(int num_threads, double* node_energy, double* forces, double* virial, double* node_virial,
           double* centroid_virial, EquipotExchange exchange, void* context);

 private:
  void check(int failed) const;

  std::shared_ptr<const EngineLibrary> library_;
  EquipotEngine* engine_;
};

}  // namespace equipot_lammps
