// SHA-256 of bytes, as lower-case hexadecimal digits. Source: NIST FIPS 180-4.
#pragma once

#include <string_view>
#include <string>

namespace equipot_lammps {

std::string sha256(std::string_view bytes);

}  // namespace equipot_lammps
