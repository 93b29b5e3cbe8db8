// Of torch's stable interface what has to do with devices: the bindings' tensors are the CPU's.
//
// The objects are those of the CUDA op library: what they register for CUDA is registered for the
// CPU here, since this library is loaded instead of the ordinary one. They are linked to these
// functions rather than to torch's.
#include <dlfcn.h>

#include <cstdint>
#include <cstring>

namespace {

// torch's own function, which the bindings do not see.
template <typename Function>
Function* of_torch(const char* name) {
  void* library = dlopen("libtorch_cpu.so", RTLD_LAZY | RTLD_NOLOAD);
  return library == nullptr ? nullptr : reinterpret_cast<Function*>(dlsym(library, name));
}

}  // namespace

extern "C" {

int32_t aoti_torch_library_init_impl(const char* name, const char* key, const char* file,
                                     uint32_t line, void** library) {
  static auto* const own =
      of_torch<decltype(aoti_torch_library_init_impl)>("aoti_torch_library_init_impl");
  if (own == nullptr) return 1;
  return own(name, std::strcmp(key, "CUDA") == 0 ? "CPU" : key, file, line, library);
}

int32_t aoti_torch_create_device_guard(int32_t, void** guard) {
  *guard = nullptr;
  return 0;
}

int32_t aoti_torch_delete_device_guard(void*) { return 0; }

int32_t aoti_torch_get_current_cuda_stream(int32_t, void** stream) {
  *stream = nullptr;
  return 0;
}
}
