// Scaled silu and tanh, and irreps gated by scaled silus, with first and second derivatives, each in one pass.
#include "simd/activation.hpp"

namespace equipot {
namespace {

// A run of channels: scalars through an activation, or an irrep times the silu of scalars of its own.
struct GateItem {
  enum Kind : int64_t { silu = 0, tanh = 1, gated = 2 };
  int64_t kind, in_offset, out_offset, components, channels, gate_offset;
};

struct GateProgram {
  int64_t num_items;
  const GateItem* items;
  int64_t in_dim, out_dim;
};

template <class T>
struct Activated {
  Vec<T> value, slope, curvature;
};

template <class T>
inline Activated<T> silu_of(Vec<T> x) {
  const Vec<T> s = sigmoid<T>(x), scaled = T(silu_scale) * s, rest = T(1) - s;
  return {x * scaled, scaled * (T(1) + x * rest), scaled * rest * (T(2) + x * (rest - s))};
}

template <class T>
inline Activated<T> tanh_of(Vec<T> x) {
  Vec<T> slope;
  const Vec<T> value = scaled_tanh<T>(x, slope);
  return {value, slope, value * slope * T(-2 / tanh_scale)};
}

template <class T>
inline Vec<T> read(const T* p, int64_t count) {
  return count >= lanes<T> ? load(p) : load_first(p, int(count));
}

template <class T>
inline void write(T* p, Vec<T> v, int64_t count) {
  count >= lanes<T> ? store(p, v) : store_first(p, v, int(count));
}

template <class T>
void forward_row(const GateProgram& program, const T* x, T* out) {
  for (int64_t n = 0; n < program.num_items; ++n) {
    const GateItem& item = program.items[n];
    for (int64_t c = 0; c < item.channels; c += lanes<T>) {
      const int64_t count = item.channels - c;
      const T* in = x + item.in_offset + c;
      T* to = out + item.out_offset + c;
      if (item.kind == GateItem::gated) {
        const Vec<T> gate = silu_of<T>(read(x + item.gate_offset + c, count)).value;
        for (int64_t m = 0; m < item.components; ++m) {
          write(to + m * item.channels, gate * read(in + m * item.channels, count), count);
        }
      } else {
        const Vec<T> value = read(in, count);
        write(to, item.kind == GateItem::silu ? silu_of<T>(value).value : tanh_of<T>(value).value, count);
      }
    }
  }
}

template <class T>
void backward_row(const GateProgram& program, const T* g, const T* x, T* gx) {
  for (int64_t n = 0; n < program.num_items; ++n) {
    const GateItem& item = program.items[n];
    for (int64_t c = 0; c < item.channels; c += lanes<T>) {
      const int64_t count = item.channels - c, in = item.in_offset + c, out = item.out_offset + c;
      if (item.kind == GateItem::gated) {
        const Activated<T> gate = silu_of<T>(read(x + item.gate_offset + c, count));
        Vec<T> total = {};
        for (int64_t m = 0; m < item.components; ++m) {
          const Vec<T> g_out = read(g + out + m * item.channels, count);
          write(gx + in + m * item.channels, g_out * gate.value, count);
          total += g_out * read(x + in + m * item.channels, count);
        }
        write(gx + item.gate_offset + c, total * gate.slope, count);
      } else {
        const Vec<T> value = read(x + in, count);
        const Vec<T> slope = item.kind == GateItem::silu ? silu_of<T>(value).slope : tanh_of<T>(value).slope;
        write(gx + in, slope * read(g + out, count), count);
      }
    }
  }
}

// gg and gx, either may be null: the gradients of sum(hx * backward(g, x)); with b, gx gets those of sum(b * forward(x))
// too. Only gx needs g.
template <class T>
void double_backward_row(const GateProgram& program, const T* g, const T* x, const T* hx, const T* b, T* gg, T* gx) {
  for (int64_t n = 0; n < program.num_items; ++n) {
    const GateItem& item = program.items[n];
    for (int64_t c = 0; c < item.channels; c += lanes<T>) {
      const int64_t count = item.channels - c, in = item.in_offset + c, out = item.out_offset + c;
      if (item.kind == GateItem::gated) {
        const Activated<T> gate = silu_of<T>(read(x + item.gate_offset + c, count));
        const Vec<T> h_gate = read(hx + item.gate_offset + c, count), moved = h_gate * gate.slope;
        Vec<T> total = {};
        for (int64_t m = 0; m < item.components; ++m) {
          const int64_t row = m * item.channels;
          const Vec<T> value = read(x + in + row, count), h_value = read(hx + in + row, count);
          if (gg != nullptr) write(gg + out + row, h_value * gate.value + moved * value, count);
          if (gx == nullptr) continue;
          const Vec<T> g_out = read(g + out + row, count);
          const Vec<T> b_out = b != nullptr ? read(b + out + row, count) : Vec<T>{};
          write(gx + in + row, moved * g_out + gate.value * b_out, count);
          total += g_out * (h_value * gate.slope + h_gate * gate.curvature * value) + b_out * gate.slope * value;
        }
        if (gx != nullptr) write(gx + item.gate_offset + c, total, count);
      } else {
        const Vec<T> value = read(x + in, count), h_value = read(hx + in, count);
        const Activated<T> scalar = item.kind == GateItem::silu ? silu_of<T>(value) : tanh_of<T>(value);
        if (gg != nullptr) write(gg + out, h_value * scalar.slope, count);
        if (gx == nullptr) continue;
        const Vec<T> b_out = b != nullptr ? read(b + out, count) : Vec<T>{};
        write(gx + in, h_value * scalar.curvature * read(g + out, count) + scalar.slope * b_out, count);
      }
    }
  }
}

constexpr int64_t worth_threads = 100000;  // numbers

template <class T>
void forward(const GateProgram& program, int64_t num_rows, const T* x, T* out, int num_threads) {
  const bool many = num_threads > 1 && num_rows * program.in_dim > worth_threads;
#pragma omp parallel for schedule(static) num_threads(num_threads) if (many)
  for (int64_t n = 0; n < num_rows; ++n) forward_row(program, x + n * program.in_dim, out + n * program.out_dim);
}

template <class T>
void backward(const GateProgram& program, int64_t num_rows, const T* g, const T* x, T* gx, int num_threads) {
  const bool many = num_threads > 1 && num_rows * program.in_dim > worth_threads;
#pragma omp parallel for schedule(static) num_threads(num_threads) if (many)
  for (int64_t n = 0; n < num_rows; ++n) {
    backward_row(program, g + n * program.out_dim, x + n * program.in_dim, gx + n * program.in_dim);
  }
}

template <class T>
void double_backward(const GateProgram& program, int64_t num_rows, const T* g, const T* x, const T* hx, const T* b,
                     T* gg, T* gx, int num_threads) {
  const bool many = num_threads > 1 && num_rows * program.in_dim > worth_threads;
#pragma omp parallel for schedule(static) num_threads(num_threads) if (many)
  for (int64_t n = 0; n < num_rows; ++n) {
    const int64_t in = n * program.in_dim, out = n * program.out_dim;
    double_backward_row(program, g == nullptr ? g : g + out, x + in, hx + in, b == nullptr ? b : b + out,
                        gg == nullptr ? gg : gg + out, gx == nullptr ? gx : gx + in);
  }
}

GateProgram program_of(int64_t num_items, const int64_t* items, int64_t in_dim, int64_t out_dim) {
  return {num_items, reinterpret_cast<const GateItem*>(items), in_dim, out_dim};
}

}  // namespace
}  // namespace equipot

// items: (num_items, 6), fields of GateItem, which together cover all of x and of the result.
#define EQUIPOT_NODE_GATE(T, suffix)                                                                                 \
  EQUIPOT_API void equipot_gate_##suffix(int64_t num_items, const int64_t* items, int64_t in_dim, int64_t out_dim,   \
                                         int64_t num_rows, const T* x, T* out, int num_threads) {                    \
    equipot::forward<T>(equipot::program_of(num_items, items, in_dim, out_dim), num_rows, x, out, num_threads);      \
  }                                                                                                                  \
  EQUIPOT_API void equipot_gate_backward_##suffix(int64_t num_items, const int64_t* items, int64_t in_dim,           \
                                                  int64_t out_dim, int64_t num_rows, const T* g, const T* x, T* gx,  \
                                                  int num_threads) {                                                 \
    equipot::backward<T>(equipot::program_of(num_items, items, in_dim, out_dim), num_rows, g, x, gx, num_threads);   \
  }                                                                                                                  \
  EQUIPOT_API void equipot_gate_double_backward_##suffix(int64_t num_items, const int64_t* items, int64_t in_dim,    \
                                                         int64_t out_dim, int64_t num_rows, const T* g, const T* x,  \
                                                         const T* hx, const T* b, T* gg, T* gx,                      \
                                                         int num_threads) {                                          \
    equipot::double_backward<T>(equipot::program_of(num_items, items, in_dim, out_dim), num_rows, g, x, hx, b, gg,   \
                                gx, num_threads);                                                                    \
  }
EQUIPOT_NODE_GATE(float, f32)
EQUIPOT_NODE_GATE(double, f64)
