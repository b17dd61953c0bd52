// Reading what `equipot lammps export` wrote.
#include "exported_model.hpp"

#include <map>
#include <sstream>
#include <stdexcept>

#include "sha256.hpp"

namespace equipot_lammps {
namespace {

constexpr std::string_view start = "equipot document ", version = "1", units = "eV Angstrom";

[[noreturn]] void refuse(const std::string& reason) {
  throw std::runtime_error(reason + "; export the model again with `equipot lammps export`");
}

// Takes the next line away, without its end.
std::string_view next_line(std::string_view& text) {
  const size_t end = text.find('\n');
  if (end == std::string_view::npos) refuse("the file is truncated within its header");
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end + 1);
  return line;
}

std::string value_of(std::string_view line, std::string_view key) {
  if (line.size() <= key.size() || line.substr(0, key.size()) != key || line[key.size()] != ' ')
    refuse("the file is damaged: its header has no " + std::string(key));
  return std::string(line.substr(key.size() + 1));
}

}  // namespace

bool is_exported(std::string_view bytes) { return bytes.substr(0, start.size()) == start; }

ExportedModel read_exported(std::string_view bytes) {
  const std::string_view first = next_line(bytes);
  if (first.substr(start.size()) != version)
    throw std::runtime_error("the file has format version " + std::string(first.substr(start.size()).substr(0, 20)) +
                             ", this equipot reads version " + std::string(version) +
                             "; export the model with the equipot that LAMMPS' plugin was compiled from");
  const std::string digest = value_of(next_line(bytes), "sha256"), size = value_of(next_line(bytes), "bytes");
  if (size != std::to_string(bytes.size())) {
    if (size.empty() || size.size() > 18 || size.find_first_not_of("0123456789") != std::string::npos)
      refuse("the file is damaged: its size is not a number");
    refuse("the file is " + std::string(std::stoull(size) > bytes.size() ? "truncated" : "altered") + ": it should hold " + size +
           " bytes after its first lines, found " + std::to_string(bytes.size()));
  }
  if (sha256(bytes) != digest) refuse("the file was altered or is damaged: its content does not have the hash it states");
  std::map<std::string, std::string> header;
  for (std::string_view line = next_line(bytes); !line.empty(); line = next_line(bytes)) {
    const size_t space = line.find(' ');
    header[std::string(line.substr(0, space))] = space == std::string_view::npos ? "" : line.substr(space + 1);
  }
  if (header["units"] != units) refuse("the file is in units of " + header["units"] + ", expected " + std::string(units));
  ExportedModel model;
  std::istringstream words(header["elements"]);
  for (std::string word; words >> word;) model.elements.push_back(word);
  model.dtype = header["dtype"];
  model.cutoff = header["cutoff"];
  model.architecture = header["architecture"];
  model.document = bytes;
  return model;
}

}  // namespace equipot_lammps
