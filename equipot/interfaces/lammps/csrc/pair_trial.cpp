// Trials of Monte Carlo fixes that put atoms in and take them out: which evaluations are such, and what differs in them.
//
// LAMMPS' chemical potentials and pressures of a reservoir (fix gcmc, fix widom) are those of atoms without an energy of
// their own: in trials energies count from the isolated atoms'. An atom that a trial takes out stays in the list, in a
// group of the fix without neighbours: it is left out here, else it would keep its isolated energy. Atoms put on top of
// each other have an infinite energy, so that the trial fails, where an MD step would stop the run.
#include <cstring>
#include <limits>

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "fix.h"
#include "group.h"
#include "modify.h"
#include "neighbor.h"
#include "pair_equipot.h"
#include "update.h"

namespace LAMMPS_NS {
namespace {

// The groups that these fixes take atoms out with are named so, and then by the fix's ID.
constexpr const char* absent_groups[] = {"FixGCMC:gcmc_exclusion_group:", "FixWidom:widom_exclusion_group:"};

bool inserts_atoms(const Fix* fix) { return std::strcmp(fix->style, "gcmc") == 0 || std::strcmp(fix->style, "widom") == 0; }

bool is_absent_group(const char* name) {
  for (const char* start : absent_groups)
    if (std::strncmp(name, start, std::strlen(start)) == 0) return true;
  return false;
}

}  // namespace

// The bits of groups whose atoms are taken out. False: there are other exclusions.
bool PairEquipot::find_absent_groups(int& bits) const {
  for (int k = 0; k < neighbor->nex_group; ++k) {
    const int one = neighbor->ex1_group[k], other = neighbor->ex2_group[k];
    if (is_absent_group(group->names[one]) && other == 0)
      bits |= group->bitmask[one];
    else if (is_absent_group(group->names[other]) && one == 0)
      bits |= group->bitmask[other];
    else
      return false;
  }
  return true;
}

// A fix that has forced this step's rebuild tries until it has named the next one.
void PairEquipot::find_trial() {
  is_trial_ = false;
  if (update->whichflag != 1 || update->setupflag) return;
  for (const Fix* fix : modify->get_fix_list())
    is_trial_ = is_trial_ || (inserts_atoms(fix) && fix->force_reneighbor && fix->next_reneighbor == update->ntimestep);
}

void PairEquipot::refuse_trial() {
  if (eflag_global) eng_vdwl = std::numeric_limits<double>::infinity();
}

// Said once, and what cannot be right is refused.
void PairEquipot::check_monte_carlo() {
  for (const Fix* fix : modify->get_fix_list()) {
    if (std::strcmp(fix->style, "charge/regulation") == 0)
      error->all(FLERR, "pair_style equipot: fix charge/regulation moves charges, which the potential does not have");
    if (!inserts_atoms(fix) || has_said_trial_) continue;
    has_said_trial_ = true;
    std::string text;
    for (int k = 0; k < nelements; ++k) text += fmt::format("{}{} {:.6g} eV", k ? ", " : "", elements[k], lone_energy_[size_t(k)]);
    if (comm->me == 0)
      utils::logmesg(lmp, "equipot: fix {} counts energies from those of isolated atoms ({}), as LAMMPS' chemical potentials "
                          "and pressures of a reservoir do; thermo output holds total energies\n", fix->style, text);
  }
}

}  // namespace LAMMPS_NS
