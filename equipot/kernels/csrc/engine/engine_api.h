/* The C entry points of the inference engine: the one place where they are declared.
 *
 * The library (engine_api.cpp) and the LAMMPS plugin include this file, and Python reads its signatures from it
 * (equipot/kernels/native/header.py). So it keeps to plain C: one declaration after the other, no macros in them.
 */
#ifndef EQUIPOT_ENGINE_API_H
#define EQUIPOT_ENGINE_API_H

#include <stdint.h>

/* Raised with every change of an entry point of the native kernels, of those declared here and of all others. */
#define EQUIPOT_ABI_VERSION 4

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* A frozen potential and the structure it works on. Not to be used by two threads at once. */
typedef struct EquipotEngine EquipotEngine;

/* Fills the halo: called with an array of rows by node, in the engine's order, those of atoms filled; it fills the others
 * with what the same array holds for them where they are evaluated. In every evaluation the calls are the same ones in
 * the same order everywhere. */
typedef void (*EquipotExchange)(void* context, void* rows, int64_t row_bytes);

/* The version above, as the library was compiled. */
int equipot_abi_version(void);

/* 0 plain, 1 avx2, 2 avx512: the widest set of ours that this CPU and operating system run. */
int equipot_best_instruction_set(void);

/* What went wrong in this thread's last call that failed. */
const char* equipot_engine_error(void);

/* From a document (engine_document.hpp); null where it is refused. */
EquipotEngine* equipot_engine_load(const char* bytes, int64_t size);

void equipot_engine_destroy(EquipotEngine* engine);

/* Angstrom. */
double equipot_engine_cutoff(const EquipotEngine* engine);

int64_t equipot_engine_num_species(const EquipotEngine* engine);

/* Whether the network computes in float64, and exchanges rows of float64; else float32. */
int equipot_engine_is_double(const EquipotEngine* engine);

/* Of the present structure. */
int64_t equipot_engine_bytes(const EquipotEngine* engine);

/* The functions below give 0, or 1 where they failed. */

/* A new list with skin; see SkinList (engine_structure.hpp). */
int equipot_engine_set_list(EquipotEngine* engine, int64_t num_atoms, const int32_t* species, int64_t num_edges,
                            const int64_t* center, const int64_t* neighbor, const int64_t* shift,
                            const double* positions, const double* cell);

/* A new list of points; see PointList. Gives the engine's number of each node, which is its row in an exchange; valid
 * until the next list. */
int equipot_engine_set_points(EquipotEngine* engine, int64_t num_atoms, int64_t num_nodes, int64_t num_points,
                              const int32_t* species, const int32_t* atom_point, const int32_t* point_node,
                              const int64_t* start, const int32_t* point, const double* positions,
                              const int64_t** places);

/* The vectors of the last list at these positions (of atoms, or of points) and this cell (null with points). Gives the
 * nearest two atoms (points) of the list and their distance. */
int equipot_engine_update(EquipotEngine* engine, const double* positions, const double* cell, int num_threads,
                          int64_t* closest_pair, double* closest_distance);

/* Evaluates the structure as it was last updated. Results that are null are not computed: node_energy (num_atoms),
 * forces (num_atoms, 3), virial (3, 3), node_virial and centroid_virial (num_atoms, 3, 3; see Results in engine.hpp);
 * with a list of points forces and virials of atoms are by point, and added to. `exchange` is called with `context`; null
 * where there is no halo. centroid_virial has to be wanted everywhere or nowhere, as it takes more exchanges. */
int equipot_engine_run(EquipotEngine* engine, int num_threads, double* node_energy, double* forces, double* virial,
                       double* node_virial, double* centroid_virial, EquipotExchange exchange, void* context);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
