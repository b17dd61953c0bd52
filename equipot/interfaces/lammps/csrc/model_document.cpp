// Running `python -m equipot.interfaces.lammps.export` and reading what it wrote.
#include "model_document.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>

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

}  // namespace

ModelDocument lower_model(const std::string& python, const std::string& model,
                          const std::vector<std::string>& elements, const std::string& dtype) {
  const TemporaryFile output;
  // -P: nothing in the working directory can stand in for a module.
  std::string command = quoted(python) + " -P -m equipot.interfaces.lammps.export " + quoted(output.path()) + " " +
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
  std::ifstream file(output.path(), std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return {std::move(bytes), said};
}

}  // namespace equipot_lammps
