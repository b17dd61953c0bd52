// What ranks tell each other: rows of features and gradients, species, forces of a committee's members.
#include <algorithm>
#include <cstring>

#include "atom.h"
#include "comm.h"
#include "pair_equipot.h"

namespace LAMMPS_NS {

void PairEquipot::exchange(void* self, void* rows, int64_t row_bytes) {
  static_cast<PairEquipot*>(self)->exchange_rows(static_cast<char*>(rows), row_bytes);
}

void PairEquipot::exchange_rows(char* rows, int64_t row_bytes) {
  const int64_t largest_part = comm_forward * int64_t(sizeof(double));
  rows_ = rows;
  row_bytes_ = row_bytes;
  for (part_begin_ = 0; part_begin_ < row_bytes; part_begin_ += largest_part) {
    part_bytes_ = std::min(largest_part, row_bytes - part_begin_);
    part_doubles_ = int((part_bytes_ + int64_t(sizeof(double)) - 1) / int64_t(sizeof(double)));
    if (has_exchange_)
      comm->forward_comm(this, part_doubles_);
    else  // for tests: the halo is silent
      for (size_t node = atom_point_.size(); node < species_.size(); ++node)
        std::memset(rows_ + places_[node] * row_bytes_ + part_begin_, 0, size_t(part_bytes_));
  }
}

int PairEquipot::pack_forward_comm(int n, int* list, double* buffer, int, int*) {
  if (message_ == Message::types) {
    for (int k = 0; k < n; ++k) buffer[k] = types_[size_t(list[k])];
    return n;
  }
  for (int k = 0; k < n; ++k) {
    const int32_t node = point_node_[size_t(list[k])];
    double* to = buffer + int64_t(k) * part_doubles_;
    to[part_doubles_ - 1] = 0.0;  // the part may end within a number
    if (node >= 0) std::memcpy(to, rows_ + places_[node] * row_bytes_ + part_begin_, size_t(part_bytes_));
  }
  return n * part_doubles_;
}

void PairEquipot::unpack_forward_comm(int n, int first, double* buffer) {
  if (message_ == Message::types) {
    for (int k = 0; k < n; ++k) types_[size_t(first + k)] = int(buffer[k]);
    return;
  }
  for (int k = 0; k < n; ++k) {
    if (!is_filled_[size_t(first + k)]) continue;
    const int64_t row = places_[point_node_[size_t(first + k)]];
    std::memcpy(rows_ + row * row_bytes_ + part_begin_, buffer + int64_t(k) * part_doubles_, size_t(part_bytes_));
  }
}

// Whether it is so on any rank.
bool PairEquipot::is_any(bool is_here) const {
  int mine = is_here, any = is_here;
  if (comm->nprocs > 1) MPI_Allreduce(&mine, &any, 1, MPI_INT, MPI_MAX, world);
  return any != 0;
}

// Forces of one member of a committee on ghosts, to their owners.
int PairEquipot::pack_reverse_comm(int n, int first, double* buffer) {
  std::memcpy(buffer, reverse_forces_ + 3 * int64_t(first), 3 * size_t(n) * sizeof(double));
  return 3 * n;
}

void PairEquipot::unpack_reverse_comm(int n, int* list, double* buffer) {
  for (int k = 0; k < n; ++k)
    for (int a = 0; a < 3; ++a) reverse_forces_[3 * int64_t(list[k]) + a] += buffer[3 * k + a];
}

}  // namespace LAMMPS_NS
