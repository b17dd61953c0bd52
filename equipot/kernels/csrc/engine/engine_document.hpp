// An engine's program as a document: what the Python package works out of a potential, so that it can be built anywhere,
// in the process that made it or in one without Python.
//
// A document is the eight bytes "equipot1" and records, all numbers little-endian. A record is a name (16 bytes, padded
// with zeros), the number of its integers and of its reals (int64 each), then the integers (int64) and the reals
// (float64). The first record is "engine", the last one "finish"; see equipot/kernels/document.py, which writes them.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/engine.hpp"

namespace equipot {

// Throws std::invalid_argument where the document makes no sense, or needs another instruction set.
std::unique_ptr<EngineBase> build_engine(const char* bytes, int64_t size);

}  // namespace equipot
