// The LAMMPS pair style `equipot`: potentials of equipot in LAMMPS, on any number of ranks.
//
// LAMMPS' owned atoms are evaluated; its ghosts are points at which edges end. A ghost that is an image of an owned atom
// is that atom, the others form the halo, whose rows come from the ranks that own them: before every layer, and before
// every layer on the way back, one forward communication of LAMMPS. So ghosts of one cutoff serve any number of layers.
// With several models (a committee) forces are their mean, and each atom has the deviation among them.
#pragma once

#include "pair.h"

#include <memory>
#include <string>
#include <vector>

#include "engine_library.hpp"

namespace LAMMPS_NS {

class PairEquipot : public Pair {
 public:
  explicit PairEquipot(class LAMMPS* lmp);
  ~PairEquipot() override;

  void settings(int narg, char** arg) override;
  void coeff(int narg, char** arg) override;
  void init_style() override;
  double init_one(int i, int j) override;
  void compute(int eflag, int vflag) override;

  int pack_forward_comm(int n, int* list, double* buffer, int pbc_flag, int* pbc) override;
  void unpack_forward_comm(int n, int first, double* buffer) override;
  int pack_reverse_comm(int n, int first, double* buffer) override;
  void unpack_reverse_comm(int n, int* list, double* buffer) override;

  void* extract_peratom(const char* name, int& columns) override;
  double memory_usage() override;

 private:
  using Engine = equipot_lammps::Engine;

  // A member of the committee, with what it gave in the present step.
  struct Model {
    std::unique_ptr<Engine> engine;
    std::vector<int32_t> species;     // the engine's number of each element
    const int64_t* places = nullptr;  // the engine's row of each node
    std::vector<double> forces;       // (owned and ghost atoms, 3); empty where there is one model only
  };

  void allocate();
  void load(const std::vector<std::string>& files);
  std::string shared_bytes(const std::string& file, const std::vector<std::string>& elements);
  void check_environment() const;
  void check_heat_flux() const;
  void agree(const std::string& problem) const;
  std::string name(int atom) const;

  void check_monte_carlo();

  int num_all() const;
  int num_threads() const;
  bool is_known(int atom) const;
  void take_changes();
  void read_types();
  std::string find_missing_pairs();
  void number_nodes();
  std::string find_missing_atoms() const;
  void number_pairs(bool is_new);
  std::string hand_over();

  bool find_absent_groups(int& bits) const;
  void find_trial();
  void refuse_trial();

  bool is_any(bool is_here) const;
  bool move_points();
  void evaluate(Model& model, double* forces);
  std::string find_not_finite(const double* forces) const;
  static void exchange(void* self, void* rows, int64_t row_bytes);
  void exchange_rows(char* rows, int64_t row_bytes);
  void tally();

  void combine_committee();
  void stop_where_models_disagree();
  void write_frame(const std::string& path);
  template <class Value>
  std::vector<Value> gathered(const std::vector<Value>& mine, int width) const;

  bool is_committee() const { return models_.size() > 1; }

  // Settings.
  std::string dtype_;
  int num_threads_ = 0;  // 0: as LAMMPS has
  double min_distance_ = 0.05;
  double stop_above_ = 0;  // eV/Angstrom; 0: never
  std::string stop_file_ = "disagreement.xyz";
  bool has_exchange_ = true;

  std::vector<Model> models_;
  std::vector<double> lone_energy_;  // eV, of an isolated atom of each element
  double cutoff_ = 0;

  // The present neighbour list.
  std::vector<int> types_;  // as they were when the list was taken in
  int absent_bits_ = 0;     // of groups whose atoms are not there
  std::vector<int32_t> species_, atom_point_, point_node_, point_;
  std::vector<int64_t> start_;
  std::vector<char> is_filled_;  // by atom of LAMMPS: whether an exchange writes its row
  int listed_local_ = -1, listed_all_ = -1;
  bool is_trial_ = false, has_said_trial_ = false;

  // The present step.
  std::vector<double> node_energy_, total_energy_;
  double virial_[9];
  std::vector<double> node_virial_, centroid_virial_, deviation_;
  double largest_deviation_ = 0;
  bigint last_frame_ = -1;

  // What a forward communication carries now.
  enum class Message { rows, types } message_ = Message::rows;
  // The exchange in progress: a part of every row, and which row each atom of LAMMPS has.
  char* rows_ = nullptr;
  int64_t row_bytes_ = 0, part_begin_ = 0, part_bytes_ = 0;
  int part_doubles_ = 0;
  const int64_t* places_ = nullptr;
  double* reverse_forces_ = nullptr;
};

}  // namespace LAMMPS_NS
