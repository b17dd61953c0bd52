// Reading an exported model, or running `python -m equipot.interfaces.lammps.lower` and reading what it wrote.
#include "model_document.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include "exported_model.hpp"

namespace equipot_lammps {
namespace {

std::string quoted(const std::string& word) {
  std::string result = "'";
  for (const char c : word) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

// A new file, removed at the end.
class TemporaryFile {
 public:
  TemporaryFile() {
    const char* folder = std::getenv("TMPDIR");
    path_ = std::string(folder != nullptr && *folder ? folder : "/tmp") + "/equipot-XXXXXX";
    const int descriptor = mkstemp(path_.data());
    if (descriptor < 0) throw std::runtime_error("no temporary file can be made as " + path_);
    close(descriptor);
  }
  ~TemporaryFile() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string stripped(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

std::string content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// Whether a file can be read and begins as an exported model does; by what it holds, not by its name.
bool begins_as_exported(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  char start[32] = {};
  file.read(start, sizeof(start));
  return is_exported(std::string_view(start, size_t(file.gcount())));
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

ModelBytes lower_model(const std::string& python, const std::string& model, const std::vector<std::string>& elements,
                       const std::string& dtype) {
  const TemporaryFile output;
  // -P: nothing in the working directory can stand in for a module.
  std::string command = quoted(python) + " -P -m equipot.interfaces.lammps.lower " + quoted(output.path()) + " " +
                        quoted(model);
  if (!dtype.empty()) command += " --dtype " + quoted(dtype);
  command += " --elements";
  for (const std::string& element : elements) command += " " + quoted(element);
  std::FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) throw std::runtime_error("Python cannot be started: " + command);
  std::string said;
  char buffer[4096];
  while (const size_t count = std::fread(buffer, 1, sizeof(buffer), pipe)) said.append(buffer, count);
  const int status = pclose(pipe);
  said = stripped(said);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    throw std::runtime_error(said.empty() ? "the model could not be read by the command " + command : said);
  return {content(output.path()), said};
}

}  // namespace

ModelBytes read_model(const std::string& python, const std::string& file, const std::vector<std::string>& elements,
                      const std::string& dtype) {
  if (!begins_as_exported(file)) {
    if (file.size() > 4 && file.substr(file.size() - 4) == ".eqd") {
      std::ifstream there(file);
      throw std::runtime_error(file + (there ? " is not a file that `equipot lammps export` wrote"
                                             : std::string(" cannot be read: ") + std::strerror(errno)));
    }
    return lower_model(python, file, elements, dtype);
  }
  ModelBytes model{content(file), ""};
  try {
    const ExportedModel exported = read_exported(model.bytes);
    for (const std::string& element : elements)
      if (std::find(exported.elements.begin(), exported.elements.end(), element) == exported.elements.end())
        throw std::runtime_error("it was exported for the elements " + joined(exported.elements) + " and not for " + element);
    if (!dtype.empty() && dtype != exported.dtype)
      throw std::runtime_error("it was exported in " + exported.dtype + "; for another precision export it again with --dtype " +
                               dtype);
    model.description = file + ": " + exported.architecture + ", " + exported.dtype + ", cutoff " + exported.cutoff +
                        " Angstrom, elements " + joined(elements) + " (exported)";
  } catch (const std::exception& failure) {
    throw std::runtime_error(file + ": " + failure.what());
  }
  return model;
}

ModelDocument unpack_model(std::string bytes, const std::vector<std::string>& elements) {
  ModelDocument model;
  if (is_exported(bytes)) {
    const ExportedModel exported = read_exported(bytes);
    for (const std::string& element : elements)
      model.species.push_back(int32_t(std::find(exported.elements.begin(), exported.elements.end(), element) -
                                      exported.elements.begin()));
    model.document = exported.document;
  } else {
    for (size_t k = 0; k < elements.size(); ++k) model.species.push_back(int32_t(k));
    model.document = std::move(bytes);
  }
  return model;
}

}  // namespace equipot_lammps
