// The part of the CUDA runtime that nvcc's host code and CUB call, over the PTX of the fat binary.
//
// Launches happen when they are made: streams have nothing to wait for. While
// lexforge_ptx_set_capturing(1) holds, what a stream capture does not permit is refused.
#include <cuda_runtime_api.h>
#undef cudaFuncGetAttributes
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <mutex>

#include "fat_binary.h"
#include "machine.h"

namespace {

using namespace ptx;

struct Registration {
  FatBinary binary;
  std::unique_ptr<Module> module;  // scanned at the first launch
};
struct Function {
  Registration* registration;
  std::string name;
};

// Never destroyed: host code unregisters, and the statistics are written, in an order of their own.
std::map<const void*, Function>& functions() {
  static auto* all = new std::map<const void*, Function>;
  return *all;
}

std::mutex lock;  // of the device: one launch at a time

struct Configuration {
  dim3 grid, block;
  size_t shared;
  void* stream;
};
thread_local std::vector<Configuration> configurations;

// ---- errors: the code, and for the last one of a thread more than the runtime's own words

thread_local cudaError_t last_error = cudaSuccess, explained = cudaSuccess;
thread_local std::string message;

cudaError_t failed(cudaError_t error, const std::string& what) {
  message = what;
  return last_error = explained = error;
}

cudaError_t code_of(Fault fault) {
  switch (fault) {
    case Fault::kInvalidValue:
      return cudaErrorInvalidValue;
    case Fault::kInvalidConfiguration:
      return cudaErrorInvalidConfiguration;
    case Fault::kOutOfResources:
      return cudaErrorLaunchOutOfResources;
    case Fault::kInvalidPtx:
      return cudaErrorInvalidPtx;
    case Fault::kLaunch:
      break;
  }
  return cudaErrorLaunchFailure;
}

const char* words_of(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorLaunchOutOfResources:
      return "too many resources requested for launch";
    case cudaErrorInvalidPtx:
      return "a PTX JIT compilation failed";
    case cudaErrorLaunchFailure:
      return "unspecified launch failure";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    default:
      return "unrecognized error code";
  }
}

// Does what may throw.
template <typename F>
cudaError_t guarded(F&& f) {
  const std::lock_guard<std::mutex> guard(lock);
  try {
    f();
    return cudaSuccess;
  } catch (const Error& error) {
    const cudaError_t code = code_of(error.fault);
    return failed(code, std::string(words_of(code)) + ": " + error.what());
  } catch (const std::exception& error) {
    return failed(cudaErrorUnknown, error.what());
  }
}

std::atomic<bool> capturing = false;

cudaError_t refused_in_capture(const char* what) {
  return failed(cudaErrorStreamCaptureUnsupported,
                std::string(words_of(cudaErrorStreamCaptureUnsupported)) + ": " + what);
}

// ---- kernels

Kernel& kernel_of(const void* host) {
  const auto found = functions().find(host);
  if (found == functions().end()) throw Error(Fault::kInvalidValue, "a kernel nobody registered");
  const std::string& name = found->second.name;
  Registration& registration = *found->second.registration;
  if (!registration.module) {
    if (registration.binary.ptx.empty()) {
      throw Error(Fault::kInvalidPtx, "no uncompressed PTX in the object of " + name);
    }
    registration.module = std::make_unique<Module>(std::move(registration.binary.ptx));
  }
  Kernel* kernel = registration.module->find(name);
  if (kernel == nullptr) throw Error(Fault::kInvalidPtx, "no kernel " + name);
  const auto registers = registration.binary.registers.find(name);
  if (registers != registration.binary.registers.end()) kernel->registers = registers->second;
  return *kernel;
}

// What ran, at the end of the process: LEXFORGE_PTX_STATISTICS names a folder. Every registered
// kernel is there, those that were not launched with zeros, and the lines of the sources: how often
// warps executed an instruction of them, for the kernels that were launched.
class Statistics {
 public:
  ~Statistics() {
    const char* folder = std::getenv("LEXFORGE_PTX_STATISTICS");
    if (folder == nullptr || *folder == 0) return;
    std::ofstream out(std::string(folder) + "/" + std::to_string(getpid()) + ".json");
    out << "{\"kernels\": {";
    const char* between = "\n";
    for (const auto& [host, function] : functions()) {
      const Kernel* kernel = launched(function);
      out << between << "  \"" << function.name
          << "\": {\"launches\": " << (kernel ? kernel->launches : 0)
          << ", \"instructions\": " << (kernel ? kernel->instructions() : 0) << "}";
      between = ",\n";
      if (kernel) count_lines(*kernel);
    }
    out << "\n}, \"lines\": {";
    between = "\n";
    for (const auto& [file, lines] : lines_) {
      out << between << "  \"" << file << "\": {";
      const char* comma = "";
      for (const auto& [line, runs] : lines) {
        out << comma << "\"" << line << "\": " << runs;
        comma = ", ";
      }
      out << "}";
      between = ",\n";
    }
    out << "\n}}\n";
  }

 private:
  static const Kernel* launched(const Function& function) {
    const auto& module = function.registration->module;
    if (!module) return nullptr;
    const auto found = module->kernels.find(function.name);
    const bool was = found != module->kernels.end() && found->second->launches > 0;
    return was ? found->second.get() : nullptr;
  }

  void count_lines(const Kernel& kernel) {
    for (size_t n = 0; n < kernel.code.size(); ++n) {
      const auto file = kernel.module->files.find(kernel.origins[n].file);
      if (file == kernel.module->files.end()) continue;
      lines_[file->second][kernel.origins[n].line] += kernel.code[n].runs;
    }
  }

  std::map<std::string, std::map<int, uint64_t>> lines_;
};

int from_environment(const char* name, int otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != 0 ? std::atoi(value) : otherwise;
}

}  // namespace

extern "C" {

// From 1 on streams count as being captured, until 0.
void lexforge_ptx_set_capturing(int value) { capturing = value != 0; }
// The statistics so far, for processes that end without destructors.
void lexforge_ptx_write_statistics() { Statistics(); }

// ---- registration and launches

void** __cudaRegisterFatBinary(void* wrapper) {
  static Statistics statistics;
  return reinterpret_cast<void**>(new Registration{read_fat_binary(wrapper), nullptr});
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
void __cudaRegisterVar(void**, char*, char*, const char*, int, size_t, int, int) {}
void __cudaRegisterFunction(void** handle, const char* host, char*, const char* name, int, uint3*,
                            uint3*, dim3*, dim3*, int*) {
  functions()[host] = {reinterpret_cast<Registration*>(handle), name};
}
unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, void* stream) {
  configurations.push_back({grid, block, shared, stream});
  return 0;
}
cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared, void* stream) {
  const Configuration top = configurations.back();
  configurations.pop_back();
  *grid = top.grid;
  *block = top.block;
  *shared = top.shared;
  *static_cast<void**>(stream) = top.stream;
  return cudaSuccess;
}
cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* host) {
  *kernel = reinterpret_cast<cudaKernel_t>(const_cast<void*>(host));
  return cudaSuccess;
}
cudaError_t __cudaLaunchKernel(cudaKernel_t handle, dim3 grid, dim3 block, void** arguments,
                               size_t shared, cudaStream_t) {
  return guarded([&] {
    Kernel& kernel = kernel_of(reinterpret_cast<const void*>(handle));
    run(kernel, {grid.x, grid.y, grid.z}, {block.x, block.y, block.z},
        static_cast<uint32_t>(shared), pack_parameters(kernel, arguments));
  });
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* host,
                                void** arguments) {
  return __cudaLaunchKernel(reinterpret_cast<cudaKernel_t>(const_cast<void*>(host)),
                            config->gridDim, config->blockDim, arguments, config->dynamicSmemBytes,
                            config->stream);
}

// ---- attributes of kernels

cudaError_t cudaFuncSetAttribute(const void* host, cudaFuncAttribute attribute, int value) {
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  return guarded([&] {
    Kernel& kernel = kernel_of(host);
    if (value < 0 || static_cast<uint32_t>(value) + kernel.static_shared > Limits::kSharedOfBlock) {
      throw Error(Fault::kInvalidValue, std::to_string(value) + " bytes of dynamic and " +
                                            std::to_string(kernel.static_shared) +
                                            " of static shared memory for " + readable(kernel));
    }
    kernel.dynamic_shared = static_cast<uint32_t>(value);
  });
}
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* host) {
  return guarded([&] {
    const Kernel& kernel = kernel_of(host);
    std::memset(attributes, 0, sizeof *attributes);
    attributes->ptxVersion = attributes->binaryVersion = 90;
    attributes->maxThreadsPerBlock = static_cast<int>(kernel.max_threads);
    attributes->sharedSizeBytes = kernel.static_shared;
    attributes->localSizeBytes = kernel.local_bytes;
    attributes->numRegs = static_cast<int>(kernel.registers);
    attributes->maxDynamicSharedSizeBytes = static_cast<int>(kernel.dynamic_shared);
  });
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void* host,
                                                                   int threads, size_t shared,
                                                                   unsigned) {
  return guarded([&] {
    *blocks = blocks_per_multiprocessor(kernel_of(host), static_cast<uint32_t>(threads),
                                        static_cast<uint32_t>(shared));
  });
}

// ---- errors

cudaError_t cudaGetLastError() {
  const cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}
cudaError_t cudaPeekAtLastError() { return last_error; }
const char* cudaGetErrorString(cudaError_t error) {
  return error != cudaSuccess && error == explained ? message.c_str() : words_of(error);
}
cudaError_t cudaFuncGetName(const char** name, const void* host) {
  const auto found = functions().find(host);
  if (found == functions().end()) return cudaErrorInvalidDeviceFunction;
  return *name = found->second.name.c_str(), cudaSuccess;
}

// ---- the device

cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
cudaError_t cudaSetDevice(int) { return cudaSuccess; }
cudaError_t cudaGetDeviceCount(int* count) { return *count = 1, cudaSuccess; }
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = from_environment("LEXFORGE_PTX_MULTIPROCESSORS", 2);
      break;
    case cudaDevAttrMaxThreadsPerBlock:
      *value = Limits::kThreads;
      break;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = Limits::kThreadsPerMultiprocessor;
      break;
    case cudaDevAttrMaxRegistersPerBlock:
    case cudaDevAttrMaxRegistersPerMultiprocessor:
      *value = Limits::kRegisters;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = Limits::kSharedWithoutOptIn;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = Limits::kSharedOfBlock;
      break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = Limits::kShared;
      break;
    case cudaDevAttrReservedSharedMemoryPerBlock:
      *value = Limits::kSharedReserved;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = 9;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = 0;
      break;
    case cudaDevAttrWarpSize:
      *value = kLanes;
      break;
    case cudaDevAttrL2CacheSize:
      *value = 50 << 20;
      break;
    case cudaDevAttrMaxGridDimX:
      *value = Limits::kGridX;
      break;
    case cudaDevAttrMaxGridDimY:
    case cudaDevAttrMaxGridDimZ:
      *value = Limits::kGridYZ;
      break;
    default:
      return failed(cudaErrorInvalidValue, "ptx: no device attribute " + std::to_string(attribute));
  }
  return cudaSuccess;
}

// ---- streams and memory, which is the host's

cudaError_t cudaStreamSynchronize(cudaStream_t) {
  return capturing ? refused_in_capture("cudaStreamSynchronize") : cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
  return capturing ? refused_in_capture("cudaDeviceSynchronize") : cudaSuccess;
}
cudaError_t cudaMalloc(void** address, size_t bytes) {
  if (capturing) return refused_in_capture("cudaMalloc");
  *address = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  return *address != nullptr ? cudaSuccess : failed(cudaErrorMemoryAllocation, "out of memory");
}
cudaError_t cudaFree(void* address) {
  if (capturing) return refused_in_capture("cudaFree");
  std::free(address);
  return cudaSuccess;
}
// Host memory is pageable: cudaMallocHost is not there.
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t) {
  if (capturing && kind != cudaMemcpyDeviceToDevice) {
    return refused_in_capture("cudaMemcpyAsync of pageable memory");
  }
  if (bytes > 0) std::memcpy(to, from, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t) {
  if (bytes > 0) std::memset(to, value, bytes);
  return cudaSuccess;
}
// A small device, so that tests reach what happens when memory is short.
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const char* bytes = std::getenv("LEXFORGE_PTX_MEMORY");
  *free = *total = bytes != nullptr ? std::strtoull(bytes, nullptr, 10) : size_t{64} << 20;
  return cudaSuccess;
}
}
