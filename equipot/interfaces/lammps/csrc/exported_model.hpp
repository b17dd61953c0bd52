// Models written by `equipot lammps export`: a header of lines, then the engine's document. No Python is needed to read them.
//
//   equipot document 1
//   sha256 DIGITS              of everything after the next line
//   bytes NUMBER               of the same
//   KEY VALUE                  elements, cutoff, dtype, units, and lines for people: made_by, model, licence, ...
//                              (an empty line)
//   the document               see equipot/kernels/csrc/engine/engine_document.hpp
//
// Written by equipot/interfaces/lammps/exported.py.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace equipot_lammps {

struct ExportedModel {
  std::vector<std::string> elements;
  std::string dtype, cutoff, architecture;
  std::string_view document;  // into what was read
};

// Whether a file begins as one of these does.
bool is_exported(std::string_view bytes);

// Throws std::runtime_error with a sentence where it is truncated, altered or of another version.
ExportedModel read_exported(std::string_view bytes);

}  // namespace equipot_lammps
