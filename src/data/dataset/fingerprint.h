// The identity of a data set, which a run records and a resume compares.
#pragma once

#include <string>

#include "shori/data/dataset.h"

namespace shori {

// SHA-256 (hex) of this text, all numbers decimal. The number in the first line is the version of this pipeline.
//
//   shori-data 1\n
//   per conversation   its set (0 trained, k the k-th held-out set), id, text_sha256 and category, each ended by \0
//   name value\n   for each of: tokenizer (SHA-256 of the file, or none), sequence_len, bos, eos, train_on_inputs,
//                  roles (joined by ','), train_on_eos, train_on_speaker, excess_length, repeat_scenario, compat
//   per conversation   skip id\n if `skip_samples` names it, duplicate id\n if `dedupe` left it out, rating id\n if the
//                  rating filter did
//
// A conversation without an id of its own is named by its location in the recorded files, so that a run goes on when its
// data is moved or renamed.
std::string data_fingerprint(const Dataset& dataset, const DataOptions& options);

}  // namespace shori
