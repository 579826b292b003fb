#include "shori/data/blockml.h"
#include "tests/fuzz/fuzz_targets.h"

namespace shori::fuzz {
namespace {

bool same(const Segment& a, const Segment& b) { return a.role == b.role && a.hint == b.hint && a.body == b.body; }

}  // namespace

void blockml(std::string_view bytes) {
  Diagnostics diagnostics;
  const std::optional<BlockmlDocument> document = parse_blockml(bytes, {"fuzz", 0}, diagnostics);
  require(document.has_value() != diagnostics.has_errors(), "a text is read, or a problem is reported");
  if (!document) return;
  const std::string once = render(*document);
  const std::optional<BlockmlDocument> again = parse_blockml(once, {"fuzz", 0}, diagnostics);
  require(again.has_value() && again->segments.size() == document->segments.size(), "a rendering is read");
  for (std::size_t i = 0; i < again->segments.size(); ++i)
    require(same(document->segments[i], again->segments[i]), "a rendering says the same");
  require(render(*again) == once, "a rendering is canonical");
  require(again->variants == VariantCounts{}, "a canonical text has no variants");
  for (const Segment& segment : document->segments) {
    const std::optional<Speaker> speaker = find_speaker(segment.body);
    require(!speaker || speaker->text_begin <= segment.body.size(), "a speaker stands in its body");
  }
}

}  // namespace shori::fuzz
