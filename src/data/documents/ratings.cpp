#include "src/data/documents/ratings.h"

#include <algorithm>
#include <set>

#include "shori/config/vocabulary.h"
#include "shori/util/file.h"
#include "shori/util/hash.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "shori/util/yaml.h"
#include "src/data/blockml/text_stream.h"

namespace shori {
namespace {

constexpr YamlLimits kRatingLimits = {64u << 20, 2, 1'000'000, 4096};

void add_whole_and_words(std::string_view tag, std::set<std::string>& words) {
  std::string word;
  for (const char c : std::string(tag) + " ") {
    if (!is_blockml_space(c)) {
      word += c;
    } else if (!word.empty()) {
      words.insert(std::exchange(word, ""));
    }
  }
  const std::string_view whole = trim_blockml(tag);
  if (!whole.empty()) words.insert(std::string(whole));
}

std::set<std::string> tag_words(std::span<const Segment> segments) {
  std::set<std::string> words;
  for (const Segment& segment : segments) {
    if (segment.role != Role::kTags) continue;
    const std::string tags = lower_ascii(segment.body);
    for (std::size_t begin = 0; begin <= tags.size();) {
      const std::size_t end = std::min(tags.find(',', begin), tags.size());
      add_whole_and_words(std::string_view(tags).substr(begin, end - begin), words);
      begin = end + 1;
    }
  }
  return words;
}

void read_rows(const YamlDocument& yaml, RatingFile& file, Diagnostics& diagnostics) {
  for (const auto& [id, rating] : yaml.root.members) {
    if (rating.kind != YamlNode::Kind::kScalar || !find_word<Rating>(rating.text)) {
      diagnostics.add(Diagnostic("E0312", "the rating of `" + escape_for_log(id.text) + "` is none of its words")
                          .at(yaml.location(rating))
                          .note("words: " + join_words(kRatings, " ")));
      continue;
    }
    file.ratings[id.text] = rating.text;
  }
}

}  // namespace

RatingFile read_rating_file(const std::string& folder, const std::string& shown_folder, Diagnostics& diagnostics) {
  RatingFile file;
  file.path = shown_folder.empty() ? "ratings.yaml" : join_path(shown_folder, "ratings.yaml");
  const std::string path = join_path(folder, "ratings.yaml");
  if (!path_exists(path)) return file;
  const InputFile input = InputFile::open(path, "E0315");
  file.sha256 = sha256_hex(read_whole_file(input, kRatingLimits.bytes, "E0317"));
  std::string text;
  TextStream(input).read_all(text);
  Diagnostics problems;
  const std::optional<YamlDocument> yaml = parse_yaml(file.path, text, kRatingLimits, problems);
  for (const Diagnostic& each : problems.all()) {
    Diagnostic problem("E0312", each.message);
    problem.location = each.location;
    problem.notes = each.notes;
    diagnostics.add(std::move(problem));
  }
  if (yaml) read_rows(*yaml, file, diagnostics);
  return file;
}

std::string rating_of_tags(std::span<const Segment> segments, const DataEntry& entry) {
  const bool listed = std::any_of(entry.tags_rating.begin(), entry.tags_rating.end(),
                                  [](const std::vector<std::string>& words) { return !words.empty(); });
  if (!listed) return "";
  const std::set<std::string> words = tag_words(segments);
  for (const Rating rating : {Rating::kExplicit, Rating::kPg13, Rating::kUnknown}) {
    for (const std::string& word : entry.tags_rating[static_cast<std::size_t>(rating)]) {
      if (words.contains(lower_ascii(word))) return std::string(word_of(rating));
    }
  }
  return "";
}

}  // namespace shori
