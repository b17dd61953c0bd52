// From the records of a document to the parts of an engine: one reader per name, in one table.
#pragma once

#include "engine/engine.hpp"
#include "engine/engine_record.hpp"

namespace equipot {

// Takes a record in. Throws std::invalid_argument where it makes no sense or its name is not known.
template <class T>
void read_record(Engine<T>& engine, Record& record);

}  // namespace equipot
