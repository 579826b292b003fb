#include "src/infer/candidates.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>

#include "shori/util/error.h"
#include "shori/util/philox.h"
#include "shori/util/text.h"

namespace shori {
namespace {

constexpr std::size_t kFirstSorted = 64;

bool before(const Candidate& a, const Candidate& b) { return a.logit > b.logit || (a.logit == b.logit && a.id < b.id); }

[[noreturn]] void refuse(const std::string& what) {
  throw Error(
      Diagnostic("E0606", concat("cannot choose a token: ", what)).help("take an earlier checkpoint: `--step N`"));
}

}  // namespace

Candidates::Candidates(std::span<const float> logits) {
  all_.reserve(logits.size());
  for (std::size_t id = 0; id < logits.size(); ++id) {
    const float logit = logits[id];
    if (std::isnan(logit)) refuse(concat("the logit of id ", id, " is NaN"));
    if (logit == std::numeric_limits<float>::infinity()) refuse(concat("the logit of id ", id, " is infinite"));
    if (!std::isinf(logit)) all_.push_back({static_cast<std::int32_t>(id), logit});
  }
  if (all_.empty()) refuse("no logit is finite");
  largest_first();
}

void Candidates::largest_first() {
  std::iter_swap(all_.begin(), std::min_element(all_.begin(), all_.end(), before));
  sorted_ = 1;
  largest_ = all_.front().logit;
}

std::span<const Candidate> Candidates::first(std::size_t count) {
  count = std::min(count, size());
  if (count > sorted_) {
    const std::size_t end = std::min(size(), std::max({count, 4 * sorted_, kFirstSorted}));
    const auto begin = all_.begin() + static_cast<std::ptrdiff_t>(sorted_);
    const auto middle = all_.begin() + static_cast<std::ptrdiff_t>(end);
    if (middle != all_.end()) std::nth_element(begin, middle, all_.end(), before);
    std::sort(begin, middle, before);
    sorted_ = end;
  }
  return std::span(all_).first(count);
}

void Candidates::keep(std::size_t count) {
  first(count);
  all_.resize(std::min(count, size()));
  sorted_ = std::min(sorted_, size());
}

void Candidates::apply_temperature(float temperature) {
  if (temperature == 1.0f) return;
  if (temperature <= 0.0f) return keep(1);
  // Where the quotient leaves the range of floats, the difference to the largest is divided: softmax is the same.
  const bool shift = !std::isfinite(largest_ / temperature);
  for (Candidate& candidate : all_)
    candidate.logit = (shift ? candidate.logit - largest_ : candidate.logit) / temperature;
  // Logits that differed may be equal now, and then their ids decide.
  largest_first();
}

void Candidates::keep_top_k(std::int64_t k) {
  if (k > 0) keep(static_cast<std::size_t>(k));
}

void Candidates::keep_top_p(double p) {
  if (p >= 1.0) return;
  const double enough = p * sum_of_weights();
  double cumulated = 0;
  for (std::size_t count = 1; count <= size(); ++count) {
    cumulated += weight(first(count).back());
    if (cumulated >= enough) return keep(count);
  }
}

void Candidates::keep_min_p(float m) {
  if (m <= 0.0f) return;
  const float bound = std::min(largest_, largest_ + static_cast<float>(std::log(static_cast<double>(m))));
  std::erase_if(all_, [bound](const Candidate& candidate) { return candidate.logit < bound; });
  sorted_ = std::min(sorted_, size());
}

void Candidates::keep_surprises_up_to(double limit) {
  const double sum = sum_of_weights();
  for (std::size_t count = 1; count <= size(); ++count) {
    if (-std::log2(weight(first(count).back()) / sum) > limit) return keep(std::max<std::size_t>(count - 1, 1));
  }
}

double Candidates::weight(const Candidate& candidate) const {
  return std::exp(static_cast<double>(candidate.logit) - static_cast<double>(largest_));
}

double Candidates::sum_of_weights() {
  double sum = 0;
  for (const Candidate& candidate : all_) sum += weight(candidate);
  return sum;
}

Candidates::Draw Candidates::draw(double u) {
  const double sum = sum_of_weights();
  double cumulated = 0;
  Draw last{all_.front().id, 1.0};
  for (std::size_t count = 1; count <= size(); ++count) {
    const Candidate candidate = first(count).back();
    const double of_this = weight(candidate);
    // Sums in another order may differ in the last bit, so that nothing exceeds u: then it is the last possible one.
    if (of_this == 0) break;
    last = {candidate.id, of_this / sum};
    cumulated += of_this;
    if (cumulated > u * sum) break;
  }
  return last;
}

double uniform(std::uint64_t seed, std::uint32_t reply, std::uint32_t token) {
  constexpr std::uint32_t kPurpose = 0x53414D50;  // "SAMP"
  const PhiloxWords words = philox4x32(seed, {{token, reply, 0, kPurpose}});
  const std::uint64_t joined = std::uint64_t{words.word[0]} << 32 | words.word[1];
  return std::ldexp(static_cast<double>(joined >> 11), -53);
}

void penalize(std::span<float> logits, std::span<const std::int32_t> window, const Penalties& penalties) {
  if (penalties.repetition == 1.0f && penalties.presence == 0.0f && penalties.frequency == 0.0f) return;
  std::unordered_map<std::int32_t, std::int64_t> occurrences;
  for (const std::int32_t id : window) ++occurrences[id];
  constexpr float kLargest = std::numeric_limits<float>::max();
  for (const auto& [id, count] : occurrences) {
    SHORI_CHECK(id >= 0 && static_cast<std::size_t>(id) < logits.size(),
                concat("id ", id, " is not in the vocabulary"));
    float& logit = logits[static_cast<std::size_t>(id)];
    if (!std::isfinite(logit)) continue;
    const float repeated = logit <= 0 ? logit * penalties.repetition : logit / penalties.repetition;
    const float subtracted = static_cast<float>(count) * penalties.frequency + penalties.presence;
    logit = std::clamp(std::clamp(repeated, -kLargest, kLargest) - subtracted, -kLargest, kLargest);
  }
}

Candidates::Draw Mirostat::draw(Candidates& candidates, double u) {
  candidates.keep_surprises_up_to(mu_);
  const Candidates::Draw drawn = candidates.draw(u);
  mu_ -= eta_ * (-std::log2(drawn.probability) - tau_);
  return drawn;
}

}  // namespace shori
