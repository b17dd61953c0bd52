// What LAMMPS calls when it loads the plugin: registers the pair style, or says why it does not.
#include <dlfcn.h>

#include <cstdio>

#include "pair_equipot.h"

namespace {

// The documented C interface of LAMMPS plugins (Developer guide, "Writing plugins").
struct Plugin {
  const char *version, *style, *name, *info, *author;
  union {
    void* (*v1)(void*);
    void* (*v2)(void*, int, char**);
  } creator;
  void* handle;
};
using Register = void (*)(Plugin*, void*);

void* create_pair(void* lmp) { return new LAMMPS_NS::PairEquipot(static_cast<LAMMPS_NS::LAMMPS*>(lmp)); }

}  // namespace

extern "C" __attribute__((visibility("default"))) void lammpsplugin_init(void* lmp, void* handle, void* register_plugin) {
  // Classes of LAMMPS are laid out anew in every version: another one would call wrong functions.
  const auto version = reinterpret_cast<int (*)(void*)>(dlsym(RTLD_DEFAULT, "lammps_version"));
  const int found = version != nullptr ? version(lmp) : 0;
  if (found != EQUIPOT_LAMMPS_VERSION) {
    std::fprintf(stderr,
                 "ERROR: equipot's pair style was compiled for LAMMPS version %d and is not loaded into this one, "
                 "version %d; `equipot lammps build` compiles it for the LAMMPS of its Python environment.\n",
                 EQUIPOT_LAMMPS_VERSION, found);
    return;
  }
  Plugin plugin{};
  plugin.version = EQUIPOT_LAMMPS_VERSION_TEXT;
  plugin.style = "pair";
  plugin.name = "equipot";
  plugin.info = "equipot potentials (.eqp)";
  plugin.author = "The equipot developers";
  plugin.creator.v1 = &create_pair;
  plugin.handle = handle;
  reinterpret_cast<Register>(register_plugin)(&plugin, lmp);
}
