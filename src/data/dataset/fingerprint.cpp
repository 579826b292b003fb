#include "src/data/dataset/fingerprint.h"

#include <string_view>

#include "shori/util/hash.h"
#include "shori/util/text.h"

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

}  // namespace

std::string data_fingerprint(const Documents& documents, const DataOptions& options,
                             const std::string& tokenizer_sha256) {
  Sha256 hash;
  hash.update("shori-data 1\n");
  std::string left_out;
  for (const Document& document : documents) {
    const Conversation& source = document.source;
    for (const std::string& field : {concat(source.held_out + 1), source.id, source.text_sha256, source.category})
      hash.update(field.c_str(), field.size() + 1);
    if (document.skipped) left_out += concat("skip ", source.id, '\n');
    if (document.duplicate) left_out += concat("duplicate ", source.id, '\n');
    if (document.filtered) left_out += concat("rating ", source.id, '\n');
  }
  hash.update(options_text(options, tokenizer_sha256)).update(left_out);
  return to_hex(hash.finish());
}

}  // namespace shori
