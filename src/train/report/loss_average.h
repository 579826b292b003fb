#pragma once

namespace shori {

// Exponential average with decay 0.98, corrected for its start, as TensorBoard smooths.
class LossAverage {
 public:
  double add(double loss) {
    constexpr double kDecay = 0.98;
    sum_ = kDecay * sum_ + (1 - kDecay) * loss;
    weight_ = kDecay * weight_ + (1 - kDecay);
    return sum_ / weight_;
  }

 private:
  double sum_ = 0, weight_ = 0;
};

}  // namespace shori
