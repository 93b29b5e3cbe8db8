// Runs the phases of skipgram_step.h on torch's threads, for the CPU bindings.
#pragma once

#include <chrono>

#include "word2vec/skipgram_step_binding.h"

namespace lexforge {

// All threads of torch, or the calling one alone. A phase ends when its slowest thread does, some
// 10,000 times a second: where other processes hold a core, waiting costs more than threads gain.
// Results are the same for any number of threads, so each span of work may take the way that was
// faster lately; the other one is forgiven a little with every span, until it is tried again.
class StepThreads {
 public:
  template <typename Work>
  void run(int64_t count, int64_t grain, const Work& work) const {
    if (!alone_) {
      torch::stable::parallel_for(0, count, grain, work);
    } else if (count > 0) {
      work(0, count);
    }
  }

  // Around a span of work of even size.
  void begin_span() {
    alone_ = seconds_[1] < seconds_[0];
    started_ = std::chrono::steady_clock::now();
  }
  void end_span() {
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - started_;
    double& lately = seconds_[alone_ ? 1 : 0];
    lately = lately == 0 ? spent.count() : 0.7 * lately + 0.3 * spent.count();
    seconds_[alone_ ? 0 : 1] *= 0.99;
  }

 private:
  bool alone_ = false;
  double seconds_[2] = {0, 0};  // a span's time lately: on all threads, alone
  std::chrono::steady_clock::time_point started_;
};

// Brings all rows of both tables to step `done`.
void sync_tables_cpu(const SkipgramStepParams& params, const AdamSettings& settings,
                     const double* history, AdamStep& adam, int64_t done,
                     const StepThreads& threads);

// One step on params.batch: params.step and the scratch arrays are set by the caller.
void run_step_cpu(SkipgramStepParams& params, const AdamSettings& settings, double* history,
                  AdamStep& adam, const StepThreads& threads);

inline void check_workspace(const Checks& check, const Tensor& workspace, const char* asked,
                            int64_t bytes) {
  check.tensor("workspace", workspace, ScalarType::Byte, {Checks::kAny});
  check.that(workspace.size(0) >= bytes, "workspace must be as large as ", asked, " says, ", bytes,
             ", got ", workspace.size(0));
  check.aligned("workspace", workspace, 64);
}

}  // namespace lexforge
