#include "src/data/dataset/fingerprint.h"

#include <string_view>

#include "shori/util/hash.h"
#include "shori/util/text.h"
#include "src/data/documents/sources.h"

namespace shori {
namespace {

std::string_view flag_word(bool flag) { return flag ? "true" : "false"; }

std::string options_text(const DataOptions& options, const std::string& tokenizer_sha256) {
  std::string roles;
  for (const std::string& role : options.roles_to_train) roles += (roles.empty() ? "" : ",") + role;
  return concat("tokenizer ", tokenizer_sha256.empty() ? "none" : tokenizer_sha256,  //
                "\nsequence_len ", options.sequence_len,                             //
                "\nbos ", flag_word(options.bos),                                    //
                "\neos ", word_of(options.eos),                                      //
                "\ntrain_on_inputs ", flag_word(options.train_on_inputs),            //
                "\nroles ", roles,                                                   //
                "\ntrain_on_eos ", flag_word(options.train_on_eos),                  //
                "\ntrain_on_speaker ", flag_word(options.train_on_speaker),          //
                "\nexcess_length ", word_of(options.overlong),                       //
                "\nrepeat_scenario ", flag_word(options.repeat_scenario),            //
                "\ncompat ", flag_word(options.compat), "\n");
}

std::string recorded_id(const Conversation& source, const DataFile& file) {
  const bool is_location = source.id == location_text(file.path, source.line, source.is_line);
  return is_location ? location_text(file.recorded_path, source.line, source.is_line) : source.id;
}

}  // namespace

std::string data_fingerprint(const Dataset& dataset, const DataOptions& options) {
  Sha256 hash;
  hash.update("shori-data 1\n");
  std::string left_out;
  for (const Conversation& source : dataset.conversations) {
    const std::string id = recorded_id(source, dataset.files[source.file]);
    for (const std::string& field : {concat(source.held_out + 1), id, source.text_sha256, source.category})
      hash.update(field.c_str(), field.size() + 1);
    if ((source.left_out & kSkippedByName) != 0) left_out += concat("skip ", id, '\n');
    if ((source.left_out & kLeftOutAsCopy) != 0) left_out += concat("duplicate ", id, '\n');
    if ((source.left_out & kLeftOutByRating) != 0) left_out += concat("rating ", id, '\n');
  }
  hash.update(options_text(options, dataset.tokenizer_sha256)).update(left_out);
  return to_hex(hash.finish());
}

}  // namespace shori
