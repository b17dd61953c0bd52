// From a model file to the document the engine is built from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace equipot_lammps {

// Bytes of a model as rank 0 hands them to the others, and one line about it.
struct ModelBytes {
  std::string bytes;
  std::string description;
};

// A document for the engine, and its number of each element asked for.
struct ModelDocument {
  std::string document;
  std::vector<int32_t> species;
};

// Reads a model. One that `equipot lammps export` wrote (.eqd) is read here; a model file (.eqp) is lowered by Python, in
// a process of its own, for these elements. dtype is "float32", "float64" or empty for the model's own. Throws
// std::runtime_error with the sentence of the failure. Called on one rank only.
ModelBytes read_model(const std::string& python, const std::string& file, const std::vector<std::string>& elements,
                      const std::string& dtype);

// On every rank, of what read_model gave.
ModelDocument unpack_model(std::string bytes, const std::vector<std::string>& elements);

}  // namespace equipot_lammps
