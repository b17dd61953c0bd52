// The inference engine: building the network and running its phases over tiles of atoms.
#include "engine/engine.hpp"

#include <algorithm>


namespace equipot {
namespace {

// Fewer atoms than this for each thread are not worth waking it.
constexpr int64_t atoms_per_thread = 16;

}  // namespace

template <class T>
Engine<T>::Engine(const EdgeSettings& settings, int64_t num_species, int64_t tile)
    : EngineBase(settings, num_species, tile) {}

template <class T>
void Engine<T>::finish() {
  program_.finish();
  seed_ = {terms.scale.begin(), terms.scale.end()};
  no_seed_.assign(seed_.size(), T(0));
  // A lone atom of each species.
  std::vector<int32_t> species;
  for (int64_t z = 0; z < num_species; ++z) species.push_back(int32_t(z));
  const std::vector<double> positions(3 * species.size(), 0.0), cell(9, 0.0);
  structure.set_list({num_species, 0, species.data(), nullptr, nullptr, nullptr, positions.data(), cell.data()});
  structure.update(positions.data(), cell.data(), settings.cutoff, 1);
  network(Pass::energies, 1, {});
  terms.isolated.assign(species.size(), 0.0);
  for (int64_t n = 0; n < num_species; ++n) terms.isolated[size_t(structure.species()[n])] = energy_[size_t(n)];
}

template <class T>
void Engine<T>::run(const Results& results, int num_threads, const Exchange& exchange) {
  const int64_t useful = std::min(structure.num_tiles(), structure.num_atoms() / atoms_per_thread);
  num_threads = int(std::max<int64_t>(1, std::min<int64_t>(num_threads, useful)));
  const Pass pass = results.wants_moments()    ? Pass::moments
                    : results.wants_gradient() ? Pass::gradients
                                               : Pass::energies;
  network(pass, num_threads, exchange);
  collect(results, num_threads);
}

template <class T>
void Engine<T>::network(Pass pass, int num_threads, const Exchange& exchange) {
  pool_.reserve(structure.num_nodes() * program_.stored_columns());
  energy_.assign(size_t(structure.num_atoms()), 0.0);
  if (pass != Pass::energies) gradient_.start(structure);
  while (int(threads_.size()) < num_threads) threads_.push_back(std::make_unique<Thread>());
  for (auto& thread : threads_) {
    thread->values.resize(size_t(program_.num_buffers()));
    thread->gradients.resize(size_t(program_.num_buffers()));
    thread->workspace.rows.reserve(structure.tile() * program_.tile_columns());
  }
  if (pass == Pass::moments) start_moments();
  const int num_phases = pass != Pass::energies ? 2 * program_.num_stages() - 1 : program_.num_stages();
  for (int phase = 0; phase < num_phases; ++phase) {
    if (exchange.function != nullptr) fill_halo(phase, pass, exchange);
    in_parallel(structure.num_tiles(), num_threads, [&](int thread, int64_t tile) {
      run_tile(phase, tile, pass, *threads_[size_t(thread)]);
    });
  }
}

// What a phase gathers from an atom's neighbours: features going forward, gradients of the convolution's result going
// back. The edges of the halo's atoms are worked on where those atoms are evaluated.
template <class T>
void Engine<T>::fill_halo(int phase, Pass pass, const Exchange& exchange) {
  const int last = program_.num_stages() - 1;
  const auto fill = [&](T* rows, const Placement& placement) {
    exchange.function(exchange.context, rows, placement.dim * int64_t(sizeof(T)));
  };
  if (phase == 0) return;
  if (phase <= last) {
    const Placement& value = program_.value(program_.stage(phase).input);
    return fill(stored(value), value);
  }
  const Stage<T>& stage = program_.stage(2 * last - phase + 1);
  for (const int buffer : {stage.output, stage.density}) {
    if (buffer < 0) continue;
    fill(stored(program_.gradient(buffer)), program_.gradient(buffer));
    for (int a = 0; pass == Pass::moments && a < 3; ++a)
      fill(stored_moment(a, program_.moment(buffer)), program_.moment(buffer));
  }
}

template <class T>
void Engine<T>::run_tile(int phase, int64_t number, Pass pass, Thread& thread) {
  const int64_t first = number * structure.tile();
  const int64_t count = std::min(structure.tile(), structure.num_atoms() - first);
  const auto row = [&](const Placement& placement) {
    return placement.is_stored ? stored(placement) + first * placement.dim
                               : thread.workspace.rows.data() + structure.tile() * placement.column;
  };
  for (int b = 0; b < program_.num_buffers(); ++b) {
    thread.values[size_t(b)] = row(program_.value(b));
    thread.gradients[size_t(b)] = row(program_.gradient(b));
  }
  const Tile<T> tile{first,
                     count,
                     structure.species() + first,
                     thread.values.data(),
                     thread.gradients.data(),
                     energy_.data() + first,
                     seed_.data(),
                     &thread.workspace};
  std::array<Tile<T>, 3> moment_tile;
  const Tile<T>* moments = nullptr;
  if (pass == Pass::moments) {
    moment_tile = moment_tiles(tile, thread);
    moments = moment_tile.data();
  }
  const int last = program_.num_stages() - 1;
  const int s = phase <= last ? phase : 2 * last - phase;
  const Stage<T>& stage = program_.stage(s);
  if (phase <= last) {
    convolve_forward(stage, tile);
    for (const auto& operation : stage.operations) operation->forward(tile);
  } else {
    convolve_backward(program_.stage(s + 1), tile, moments, phase == last + 1);
  }
  if (pass == Pass::energies || phase < last) return;
  for (auto operation = stage.operations.rbegin(); operation != stage.operations.rend(); ++operation) {
    // First, as the gradient may take the place of a value that both need.
    for (int a = 0; moments != nullptr && a < 3; ++a) (*operation)->backward(moments[a]);
    (*operation)->backward(tile);
  }
  if (s == 0) embedding_backward(stage, tile, moments, last == 0);
}

template <class T>
void Engine<T>::convolve_forward(const Stage<T>& stage, const Tile<T>& tile) {
  Workspace<T>& workspace = *tile.workspace;
  T* out = tile.values[stage.output];
  const int64_t dim = program_.dim(stage.output);
  const T* x = stage.input < 0 ? nullptr : stored(program_.value(stage.input));
  const SplineWeights<T> weights{stage.table.data()};
  for (int64_t n = 0; n < tile.count; ++n) {
    const AtomEdges<T> edges(structure, stage.settings, tile.first + n, stage.input < 0, workspace);
    if (stage.input < 0)
      stage.embedding->forward(stage.settings, edges, structure.species(), out + n * dim, workspace);
    else if (stage.scalar != nullptr)
      stage.scalar->forward(edges.block(), x, out + n * dim);
    else
      convolve<T>(stage.plan, edges.block(), x, weights, out + n * dim, workspace.convolution);
    if (stage.density >= 0) tile.values[stage.density][n] = sum_density(edges, stage.density_table);
  }
}

template <class T>
void Engine<T>::convolve_backward(const Stage<T>& stage, const Tile<T>& tile, const Tile<T>* moments,
                                  bool is_first) {
  Workspace<T>& workspace = *tile.workspace;
  const int64_t dim = program_.dim(stage.input);
  const T* g = stored(program_.gradient(stage.output));
  const SplineWeights<T> weights{stage.table.data()};
  for (int64_t n = 0; n < tile.count; ++n) {
    AtomEdges<T> edges(structure, stage.settings, tile.first + n, false, workspace);
    const T* x = tile.values[stage.input] + n * dim;
    if (moments != nullptr) convolve_moments(stage, x, edges, n, moments, is_first);
    edges.start_gradient();
    T* gx = tile.gradients[stage.input] + n * dim;
    if (stage.scalar != nullptr)
      stage.scalar->backward(edges.block(), x, g, gx, edges.g_harmonics, edges.g_basis);
    else
      equipot::convolve_backward<T>(stage.turned, edges.block(), x, g, weights, gx, edges.g_harmonics, edges.g_basis,
                                    workspace.convolution);
    if (stage.density >= 0) {
      const T* g_density = stored(program_.gradient(stage.density));
      edges.add_density(stage.density_table, [&](int64_t e) { return g_density[edges.other(e)]; });
    }
    edges.finish_gradient(gradient_, is_first);
  }
}

template <class T>
void Engine<T>::embedding_backward(const Stage<T>& stage, const Tile<T>& tile, const Tile<T>* moments,
                                   bool is_first) {
  Workspace<T>& workspace = *tile.workspace;
  const int64_t dim = program_.dim(stage.output);
  for (int64_t n = 0; n < tile.count; ++n) {
    AtomEdges<T> edges(structure, stage.settings, tile.first + n, true, workspace);
    if (moments != nullptr) embedding_moments(stage, edges, n, moments, is_first);
    edges.start_gradient();
    stage.embedding->backward(stage.settings, edges, structure.species(), tile.gradients[stage.output] + n * dim,
                              workspace);
    if (stage.density >= 0) {
      const T g_density = tile.gradients[stage.density][n];
      edges.add_density(stage.density_table, [&](int64_t) { return g_density; });
    }
    edges.finish_gradient(gradient_, is_first);
  }
}

template <class T>
int64_t Engine<T>::bytes() const {
  int64_t columns = program_.stored_columns(), per_edge = 3;
  if (moment_pool_.data() != nullptr) {
    columns += 3 * program_.stored_moment_columns();
    per_edge += 9;
  }
  return (structure.num_nodes() * columns + structure.capacity() * per_edge) * int64_t(sizeof(T)) + structure.bytes();
}

template class Engine<float>;
template class Engine<double>;

}  // namespace equipot
