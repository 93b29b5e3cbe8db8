// The part of the CUDA runtime that nvcc's host code and CUB call, over the PTX of the fat binary.
#include <cuda_runtime_api.h>
#undef cudaFuncGetAttributes
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "machine.h"

extern "C" {
cudaError_t cudaGetLastError();
}

namespace {

using namespace ptxrun;

struct Registration {
  std::string text;
  std::unique_ptr<Module> module;  // parsed at the first launch
};
struct Function {
  Registration* registration;
  std::string name;
};

std::map<const void*, Function>& functions() {
  static auto* all = new std::map<const void*, Function>;  // never destroyed: the report needs it
  return *all;
}
std::vector<std::unique_ptr<Registration>>& registrations() {
  static auto* all = new std::vector<std::unique_ptr<Registration>>;
  return *all;
}
std::mutex lock;
thread_local std::string message;
thread_local cudaError_t last_error = cudaSuccess;

struct Configuration {
  dim3 grid, block;
  size_t shared;
  void* stream;
};
thread_local std::vector<Configuration> configurations;

Kernel& kernel_of(const void* host) {
  const auto found = functions().find(host);
  if (found == functions().end()) throw Error("ptxrun: unknown kernel");
  Registration& registration = *found->second.registration;
  if (!registration.module) registration.module = parse_module(registration.text);
  const auto kernel = registration.module->kernels.find(found->second.name);
  if (kernel == registration.module->kernels.end()) throw Error("ptxrun: no " + found->second.name);
  return *kernel->second;
}

// What ran, at the end of the process: PTXRUN_STATISTICS names a folder.
struct Report {
  ~Report() {
    const char* folder = std::getenv("PTXRUN_STATISTICS");
    if (folder == nullptr || *folder == 0 || totals.launches == 0) return;
    const std::string path = std::string(folder) + "/" + std::to_string(getpid_()) + ".txt";
    FILE* out = std::fopen(path.c_str(), "w");
    if (out == nullptr) return;
    std::fprintf(
        out, "launches %lu warp_instructions %lu lane_instructions %lu seconds %.3f races %lu\n",
        totals.launches, totals.warp_instructions, totals.lane_instructions, totals.seconds,
        totals.races);
    for (const auto& registration : registrations()) {
      if (!registration->module) continue;
      const Module& module = *registration->module;
      for (const auto& [name, kernel] : module.kernels) {
        uint64_t covered = 0;
        for (const Instruction& i : kernel->code) covered += i.runs != 0;
        std::fprintf(out, "kernel %s launches %lu covered %lu of %zu\n", name.c_str(),
                     kernel->launches, covered, kernel->code.size() - 1);
        if (kernel->launches == 0) continue;
        for (const Instruction& i : kernel->code) {
          if (i.file == 0) continue;
          const auto file = module.files.find(i.file);
          std::fprintf(out, "%s %s:%d\n", i.runs != 0 ? "hit" : "miss",
                       file != module.files.end() ? file->second.c_str() : "?", i.line);
        }
      }
    }
    std::fclose(out);
  }
  static int getpid_();
};

}  // namespace

#include <unistd.h>
int Report::getpid_() { return getpid(); }

extern "C" {

void** __cudaRegisterFatBinary(void* wrapper) {
  static Report report;
  registrations().push_back(std::make_unique<Registration>());
  Registration& registration = *registrations().back();
  const uint8_t* data;
  std::memcpy(&data, static_cast<const uint8_t*>(wrapper) + 8, sizeof data);
  uint16_t header_bytes;
  uint64_t bytes;
  std::memcpy(&header_bytes, data + 6, 2);
  std::memcpy(&bytes, data + 8, 8);
  for (const uint8_t *at = data + header_bytes, *end = at + bytes; at < end;) {
    uint16_t kind;
    uint32_t entry_header;
    uint64_t entry_bytes;
    std::memcpy(&kind, at, 2);
    std::memcpy(&entry_header, at + 4, 4);
    std::memcpy(&entry_bytes, at + 8, 8);
    if (kind == 1) {
      registration.text.assign(reinterpret_cast<const char*>(at + entry_header), entry_bytes);
      registration.text.resize(std::strlen(registration.text.c_str()));
    }
    at += entry_header + entry_bytes;
  }
  // Code for other architectures only: kernels of this file cannot run.
  return reinterpret_cast<void**>(&registration);
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
  const std::lock_guard<std::mutex> guard(lock);
  try {
    Kernel& kernel = kernel_of(reinterpret_cast<const void*>(handle));
    std::vector<uint8_t> parameters((kernel.parameter_bytes + 15) / 16 * 16);
    for (size_t n = 0; n < kernel.parameters.size(); ++n) {
      const Parameter& parameter = kernel.parameters[n];
      std::memcpy(parameters.data() + parameter.offset, arguments[n], parameter.bytes);
    }
    run(kernel, {grid.x, grid.y, grid.z}, {block.x, block.y, block.z},
        static_cast<uint32_t>(shared), std::move(parameters));
  } catch (const std::exception& error) {
    message = error.what();
    last_error = cudaErrorLaunchFailure;
  }
  return last_error;
}

cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* host,
                                void** arguments) {
  return __cudaLaunchKernel(reinterpret_cast<cudaKernel_t>(const_cast<void*>(host)),
                            config->gridDim, config->blockDim, arguments, config->dynamicSmemBytes,
                            config->stream);
}
cudaError_t cudaMalloc(void** address, size_t bytes) {
  *address = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  return *address != nullptr ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFree(void* address) { return std::free(address), cudaSuccess; }

cudaError_t cudaGetLastError() {
  const cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}
cudaError_t cudaPeekAtLastError() { return last_error; }
const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaSuccess ? "no error" : message.empty() ? "error" : message.c_str();
}
cudaError_t cudaFuncGetName(const char** name, const void* host) {
  const auto found = functions().find(host);
  if (found == functions().end()) return cudaErrorInvalidDeviceFunction;
  return *name = found->second.name.c_str(), cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
cudaError_t cudaSetDevice(int) { return cudaSuccess; }
cudaError_t cudaGetDeviceCount(int* count) { return *count = 1, cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t) {
  if (bytes > 0) std::memcpy(to, from, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t) {
  if (bytes > 0) std::memset(to, value, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const char* bytes = std::getenv("LEXFORGE_EMULATION_MEMORY");
  *free = *total = bytes != nullptr ? std::strtoull(bytes, nullptr, 10) : size_t{64} << 20;
  return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return cudaSuccess; }
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* host) {
  std::memset(attributes, 0, sizeof *attributes);
  attributes->ptxVersion = attributes->binaryVersion = 90;
  attributes->maxThreadsPerBlock = 1024;
  (void)host;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = 2;
      break;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = 2048;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = 48 * 1024;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = 227 * 1024;
      break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = 228 * 1024;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = 9;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = 0;
      break;
    case cudaDevAttrL2CacheSize:
      *value = 50 << 20;
      break;
    case cudaDevAttrMaxGridDimX:
      *value = 0x7FFFFFFF;
      break;
    default:
      std::fprintf(stderr, "ptxrun: attribute %d\n", attribute);
      *value = 0;
  }
  return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void*, int,
                                                                   size_t, unsigned) {
  return *blocks = 2, cudaSuccess;
}

// For tests without the host code: the kernel whose name contains `part`.
int ptxrun_totals(uint64_t* launches, uint64_t* warp_instructions, uint64_t* lane_instructions,
                  double* seconds) {
  *launches = totals.launches;
  *warp_instructions = totals.warp_instructions;
  *lane_instructions = totals.lane_instructions;
  *seconds = totals.seconds;
  return 0;
}
}
