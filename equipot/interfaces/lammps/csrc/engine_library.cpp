// Loading the kernels and calling them.
#include "engine_library.hpp"

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>

namespace equipot_lammps {
namespace {

constexpr const char* names[] = {"plain", "avx2", "avx512"};

std::string library_path(const std::string& folder, const std::string& name) {
  return folder + "/libequipot_" + name + ".so";
}

// The first folder that holds kernels.
std::string find_folder(const std::vector<std::string>& folders) {
  std::string looked;
  for (const std::string& folder : folders) {
    if (folder.empty()) continue;
    if (access(library_path(folder, names[0]).c_str(), R_OK) == 0) return folder;
    looked += (looked.empty() ? "" : ", ") + folder;
  }
  throw std::runtime_error("equipot's native kernels (libequipot_plain.so) are in none of " + looked +
                           "; name their folder with the environment variable EQUIPOT_KERNELS_FOLDER, or put them beside "
                           "the plugin with `equipot lammps build --folder`");
}

void* open(const std::string& folder, const std::string& name) {
  const std::string path = library_path(folder, name);
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* reason = dlerror();
    throw std::runtime_error("equipot's native kernels cannot be loaded (" + std::string(reason ? reason : path) +
                             "). Install equipot again where there is a C++ compiler");
  }
  return handle;
}

template <class Function>
void find(void* handle, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(handle, name));
  if (function == nullptr)
    throw std::runtime_error(std::string("equipot's native kernels have no ") + name + "; install equipot again");
}

}  // namespace

std::string own_folder() {
  Dl_info found{};
  if (dladdr(reinterpret_cast<const void*>(&own_folder), &found) == 0 || found.dli_fname == nullptr) return "";
  const std::string path = found.dli_fname;
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

EngineLibrary::EngineLibrary(const std::vector<std::string>& folders) {
  const std::string folder = find_folder(folders);
  void* handle = open(folder, names[0]);
  decltype(&equipot_abi_version) version = nullptr;
  decltype(&equipot_best_instruction_set) best = nullptr;
  find(handle, "equipot_abi_version", version);
  if (version() != EQUIPOT_ABI_VERSION)
    throw std::runtime_error("the LAMMPS plugin and equipot's native kernels are of different versions (interface " +
                             std::to_string(EQUIPOT_ABI_VERSION) + " and " + std::to_string(version()) +
                             "). `equipot lammps build` makes the plugin anew");
  find(handle, "equipot_best_instruction_set", best);
  int set = best();
  // A narrower one for tests, as in Python.
  if (const char* asked = std::getenv("EQUIPOT_INSTRUCTION_SET"))
    for (int k = 0; k <= best(); ++k)
      if (std::string(asked) == names[k]) set = k;
  instruction_set_ = names[set];
  if (set != 0) handle = open(folder, names[set]);
  find(handle, "equipot_engine_error", error);
  find(handle, "equipot_engine_load", load);
  find(handle, "equipot_engine_destroy", destroy);
  find(handle, "equipot_engine_cutoff", cutoff);
  find(handle, "equipot_engine_num_species", num_species);
  find(handle, "equipot_engine_is_double", is_double);
  find(handle, "equipot_engine_set_points", set_points);
  find(handle, "equipot_engine_update", update);
  find(handle, "equipot_engine_run", run);
  find(handle, "equipot_engine_bytes", bytes);
}

Engine::Engine(std::shared_ptr<const EngineLibrary> library, const std::string& document)
    : library_(std::move(library)), engine_(library_->load(document.data(), int64_t(document.size()))) {
  if (engine_ == nullptr) throw std::runtime_error(library_->error());
}

void Engine::check(int failed) const {
  if (failed != 0) throw std::runtime_error(library_->error());
}

const int64_t* Engine::set_points(const std::vector<int32_t>& species, const std::vector<int32_t>& atom_point,
                                  const std::vector<int32_t>& point_node, const std::vector<int64_t>& start,
                                  const std::vector<int32_t>& point, const double* positions) {
  const int64_t* places = nullptr;
  check(library_->set_points(engine_, int64_t(atom_point.size()), int64_t(species.size()), int64_t(point_node.size()),
                             species.data(), atom_point.data(), point_node.data(), start.data(), point.data(),
                             positions, &places));
  return places;
}

std::vector<double> Engine::lone_energies() {
  const auto count = size_t(num_species());
  std::vector<int32_t> numbers(count);
  for (size_t k = 0; k < count; ++k) numbers[k] = int32_t(k);
  const std::vector<double> positions(3 * count, 0.0);
  std::vector<double> energies(count, 0.0);
  set_points(numbers, numbers, numbers, std::vector<int64_t>(count + 1, 0), {}, positions.data());
  int64_t pair[2];
  update(positions.data(), 1, pair);
  run(1, energies.data(), nullptr, nullptr, nullptr, nullptr, nullptr, nullptr);
  return energies;
}

double Engine::update(const double* positions, int num_threads, int64_t closest_pair[2]) {
  double distance = 0;
  check(library_->update(engine_, positions, nullptr, num_threads, closest_pair, &distance));
  return distance;
}

void Engine::run(int num_threads, double* node_energy, double* forces, double* virial, double* node_virial,
                 double* centroid_virial, EquipotExchange exchange, void* context) {
  check(library_->run(engine_, num_threads, node_energy, forces, virial, node_virial, centroid_virial, exchange,
                      context));
}

}  // namespace equipot_lammps
