// The inference engine of equipot's kernels, loaded at run time for the CPU at hand.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace equipot_lammps {

// Throws std::runtime_error with a sentence where something is not there.
class EngineLibrary {
 public:
  // The kernels in this folder (libequipot_plain.so and others).
  explicit EngineLibrary(const std::string& folder);

  const std::string& instruction_set() const { return instruction_set_; }

  const char* (*error)();
  void* (*load)(const char* bytes, int64_t size);
  void (*destroy)(void* engine);
  double (*cutoff)(const void* engine);
  int64_t (*num_species)(const void* engine);
  int (*is_double)(const void* engine);
  int (*set_points)(void* engine, int64_t num_atoms, int64_t num_nodes, int64_t num_points, const int32_t* species,
                    const int32_t* atom_point, const int32_t* point_node, const int64_t* start, const int32_t* point,
                    const double* positions, const int64_t** places);
  int (*update)(void* engine, const double* positions, const double* cell, int num_threads, int64_t* closest_pair,
                double* closest_distance);
  int (*run)(void* engine, int num_threads, double* node_energy, double* forces, double* virial, double* node_virial,
             void (*exchange)(void*, void*, int64_t), void* context);
  int64_t (*bytes)(const void* engine);

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

  // See equipot/kernels/csrc/engine/engine_api.cpp. These throw std::runtime_error.
  const int64_t* set_points(const std::vector<int32_t>& species, const std::vector<int32_t>& atom_point,
                            const std::vector<int32_t>& point_node, const std::vector<int64_t>& start,
                            const std::vector<int32_t>& point, const double* positions);
  // The two nearest points and their distance.
  double update(const double* positions, int num_threads, int64_t closest_pair[2]);
  void run(int num_threads, double* node_energy, double* forces, double* virial, double* node_virial,
           void (*exchange)(void*, void*, int64_t), void* context);

 private:
  void check(int failed) const;

  std::shared_ptr<const EngineLibrary> library_;
  void* engine_;
};

}  // namespace equipot_lammps
