// From a model file to the document the engine is built from: Python, in a process of its own, lowers the model.
#pragma once

#include <string>
#include <vector>

namespace equipot_lammps {

struct ModelDocument {
  std::string document;     // bytes for the engine
  std::string description;  // what the model is, one line
};

// Species are numbered as in `elements`; dtype is "float32", "float64" or empty for the model's own. Throws
// std::runtime_error with the sentence of the failure. Called on one rank only.
ModelDocument lower_model(const std::string& python, const std::string& model,
                          const std::vector<std::string>& elements, const std::string& dtype);

}  // namespace equipot_lammps
