// A door for tests: a kernel of a PTX text, without nvcc's host code and the CUDA runtime.
#include <cstring>
#include <mutex>

#include "machine.h"

extern "C" {

struct lexforge_ptx_launch {
  uint32_t grid[3], block[3];
  uint32_t dynamic_shared;
  uint32_t dynamic_shared_allowed;  // cudaFuncAttributeMaxDynamicSharedMemorySize
  uint32_t registers;               // a thread's; 0: unknown
};

// Runs a kernel to its end; arguments[n] points to the value of parameter n. Returns an empty text,
// or what went wrong, until the next call.
const char* lexforge_ptx_run(const char* text, const char* name, const lexforge_ptx_launch* launch,
                             void** arguments) {
  using namespace ptx;
  static std::mutex lock;
  static std::map<std::string, std::unique_ptr<Module>> modules;
  static std::string message;
  const std::lock_guard<std::mutex> guard(lock);
  message.clear();
  try {
    std::unique_ptr<Module>& module = modules[text];
    if (!module) module = std::make_unique<Module>(text);
    Kernel* kernel = module->find(name);
    if (kernel == nullptr) throw Error(Fault::kInvalidPtx, std::string("no kernel ") + name);
    kernel->dynamic_shared = launch->dynamic_shared_allowed;
    kernel->registers = launch->registers;
    run(*kernel, {launch->grid[0], launch->grid[1], launch->grid[2]},
        {launch->block[0], launch->block[1], launch->block[2]}, launch->dynamic_shared,
        pack_parameters(*kernel, arguments));
  } catch (const std::exception& error) {
    message = error.what();
  }
  return message.c_str();
}

// The bytes of a warp's registers in a kernel, 0 if there is no such kernel.
uint32_t lexforge_ptx_file_bytes(const char* text, const char* name) {
  ptx::Module module(text);
  const ptx::Kernel* kernel = module.find(name);
  return kernel != nullptr ? kernel->file_bytes : 0;
}
}
