// Splits the work of the CPU versions over threads so that no bit depends on their number.
//
// Tasks are cut by shape alone and write different memory, so threads may take them in any order. A matrix product of the
// library runs on the thread of the task that calls it, so its bits are always those of one thread.
#pragma once

#ifndef SHORI_WITHOUT_TORCH
#ifndef _OPENMP
#error "Compile with -fopenmp: without it the pragma below is ignored and every op runs on one thread."
#endif
#include <omp.h>
#endif

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>

#include "shori/ops/op_context.h"
#include "shori/util/math.h"

// A function of MKL. x86-64 builds of libtorch contain MKL and export it; elsewhere the pointer is null.
extern "C" __attribute__((weak)) int MKL_Set_Num_Threads_Local(int count);

namespace shori {

// Keeps MKL on the calling thread. Inside a parallel region libtorch's MKL would still cut a product into as many parts
// as there are threads, which changes the order of its sums.
class SingleThreadBlas {
 public:
  SingleThreadBlas() : before_(MKL_Set_Num_Threads_Local != nullptr ? MKL_Set_Num_Threads_Local(1) : 0) {}
  ~SingleThreadBlas() {
    if (MKL_Set_Num_Threads_Local != nullptr) MKL_Set_Num_Threads_Local(before_);
  }
  SingleThreadBlas(const SingleThreadBlas&) = delete;
  SingleThreadBlas& operator=(const SingleThreadBlas&) = delete;

 private:
  int before_;
};

// The number of workers, each of which needs scratch of its own. Builds without libtorch, which run kernels under
// sanitizers, have one worker.
#ifdef SHORI_WITHOUT_TORCH
inline std::int64_t worker_count() { return 1; }
#else
// at::set_num_threads() sets it, so that libtorch and the ops agree.
inline std::int64_t worker_count() { return omp_get_max_threads(); }
#endif

// Calls body(task, worker) for every task in [0, count), with worker in [0, min(worker_count(), max_workers)).
template <typename Body>
void for_each_task(std::int64_t count, std::int64_t max_workers, const Body& body) {
  if (count == 0) return;
#ifdef SHORI_WITHOUT_TORCH
  (void)max_workers;
  for (std::int64_t task = 0; task < count; ++task) body(task, std::int64_t{0});
#else
  const auto workers = static_cast<int>(std::min({worker_count(), max_workers, count}));
  std::atomic<std::int64_t> next{0};
  std::exception_ptr failure;
  std::mutex failure_mutex;
  // An exception must not leave the parallel region: the first one is kept and thrown by the calling thread.
#pragma omp parallel num_threads(workers) if (workers > 1)
  {
    const SingleThreadBlas single;
    try {
      const std::int64_t worker = omp_get_thread_num();
      for (std::int64_t task = next++; task < count; task = next++) body(task, worker);
    } catch (...) {
      next = count;
      const std::lock_guard lock(failure_mutex);
      if (!failure) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
#endif
}
template <typename Body>
void for_each_task(std::int64_t count, const Body& body) {
  for_each_task(count, worker_count(), body);
}

// fp32 arrays for each worker. Every array is aligned to 64 bytes, so that no product depends on which worker takes a task.
//
//   const WorkerScratch scratch(context, {rows * cols, cols});
//   const auto [tile, row] = scratch.of(worker);
template <std::size_t kArrays>
class WorkerScratch {
 public:
  WorkerScratch(const OpContext& context, const std::int64_t (&floats)[kArrays],
                std::int64_t workers = worker_count()) {
    constexpr auto kRedZone = static_cast<std::int64_t>(RedZones::kBytes / sizeof(float));
    for (std::size_t i = 0; i < kArrays; ++i) {
      offset_[i] = size_;
      size_ += round_up(floats[i], std::int64_t{16}) + (RedZones::on_host ? kRedZone : 0);
    }
    memory_ = context.workspace->take_array<float>(static_cast<std::size_t>(workers * size_));
    if (RedZones::on_host) separate(*context.workspace, floats, workers);
  }
  std::array<float*, kArrays> of(std::int64_t worker) const {
    std::array<float*, kArrays> arrays;
    for (std::size_t i = 0; i < kArrays; ++i) arrays[i] = memory_ + worker * size_ + offset_[i];
    return arrays;
  }

 private:
  // Makes the memory from the end of each array to the next one a red zone.
  void separate(Workspace& workspace, const std::int64_t (&floats)[kArrays], std::int64_t workers) {
    for (std::int64_t worker = 0; worker < workers; ++worker) {
      float* arrays = memory_ + worker * size_;
      for (std::size_t i = 0; i < kArrays; ++i) {
        workspace.add_red_zone(arrays + offset_[i] + floats[i], arrays + (i + 1 < kArrays ? offset_[i + 1] : size_));
      }
    }
  }

  float* memory_ = nullptr;
  std::int64_t size_ = 0;
  std::array<std::int64_t, kArrays> offset_{};
};

// Calls body(first, last, worker) for ranges of rows that cover [0, rows). A range has about 16,384 elements.
template <typename Body>
void for_each_row_range(std::int64_t rows, std::int64_t cols, const Body& body) {
  const std::int64_t rows_of_task = std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, cols));
  for_each_task(ceil_div(rows, rows_of_task), [&](std::int64_t task, std::int64_t worker) {
    body(task * rows_of_task, std::min(rows, (task + 1) * rows_of_task), worker);
  });
}

}  // namespace shori
