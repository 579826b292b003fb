// The ids among which the next one is drawn, and what samplers do to them. Logits are fp32; softmax and its sums fp64, always
// over the candidates that are left.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace shori {

struct Candidate {
  std::int32_t id;
  float logit;
};

// The order of candidates everywhere is logit descending, id ascending. Only as much of it is sorted as is asked for: of
// a vocabulary of 32,000, a draw mostly needs a few.
class Candidates {
 public:
  // Candidate i has logit i. NaN or +Inf is E0606, as is a row of -Inf alone; -Inf candidates are left out.
  explicit Candidates(std::span<const float> logits);

  std::size_t size() const { return all_.size(); }
  // The first `count` in order.
  std::span<const Candidate> first(std::size_t count);

  // Divides by `temperature`; at 0 and below only the first remains.
  void apply_temperature(float temperature);
  void keep_top_k(std::int64_t k);
  // The smallest leading set whose probabilities reach `p`.
  void keep_top_p(double p);
  // Those whose probability is at least `m` times the largest; the largest stays in any case.
  void keep_min_p(float m);
  // Those before the first whose surprise, -log2 of its probability, exceeds `limit`; at least one.
  void keep_surprises_up_to(double limit);

  struct Draw {
    std::int32_t id;
    double probability;
  };
  // The first whose cumulated probability exceeds `u`, of [0, 1).
  Draw draw(double u);

 private:
  void keep(std::size_t count);
  void largest_first();
  // exp(logit - largest) of one, and the sum of all.
  double weight(const Candidate& candidate) const;
  double sum_of_weights();

  std::vector<Candidate> all_;
  std::size_t sorted_ = 0;  // that many are first in order
  float largest_ = 0;       // logit
};

// Of [0, 1), for one token of one reply: the same numbers give the same bits.
double uniform(std::uint64_t seed, std::uint32_t reply, std::uint32_t token);

// c_i occurrences of id i in `window`: repetition first, then presence and frequency.
struct Penalties {
  float repetition, presence, frequency;
};
void penalize(std::span<float> logits, std::span<const std::int32_t> window, const Penalties& penalties);

// Mirostat v2 of one reply.
class Mirostat {
 public:
  Mirostat(double tau, double eta, double mu) : tau_(tau), eta_(eta), mu_(mu) {}
  double mu() const { return mu_; }
  Candidates::Draw draw(Candidates& candidates, double u);

 private:
  double tau_, eta_, mu_;
};

}  // namespace shori
