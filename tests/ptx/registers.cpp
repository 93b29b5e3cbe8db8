// Places for a kernel's registers: nvcc writes PTX with thousands of registers, each written once,
// and leaves it to ptxas to share; here too a warp's file should fit a core's cache.
//
// Linear scan (Poletto and Sarkar 1999) over intervals from liveness. Liveness is that of one
// thread, also where lanes diverge: a lane has a column of its own in every register.
#include <algorithm>
#include <cstring>

#include "program.h"

namespace ptx {
namespace {

class Bits {
 public:
  explicit Bits(size_t bits) : words_((bits + 63) / 64) {}
  void set(size_t bit) { words_[bit / 64] |= uint64_t{1} << bit % 64; }
  bool has(size_t bit) const { return words_[bit / 64] >> bit % 64 & 1; }
  // this |= into \ killed; whether that changed anything.
  bool add(const Bits& into, const Bits* killed) {
    uint64_t changed = 0;
    for (size_t n = 0; n < words_.size(); ++n) {
      const uint64_t more = into.words_[n] & ~(killed ? killed->words_[n] : 0) & ~words_[n];
      words_[n] |= more;
      changed |= more;
    }
    return changed != 0;
  }
  template <typename F>
  void each(F&& f) const {
    for (size_t n = 0; n < words_.size(); ++n) {
      for (uint64_t rest = words_[n]; rest != 0; rest &= rest - 1) {
        f(64 * n + static_cast<size_t>(__builtin_ctzll(rest)));
      }
    }
  }

 private:
  std::vector<uint64_t> words_;
};

struct Stretch {  // a basic block: instructions [begin, end)
  size_t begin, end;
  std::vector<size_t> next;
  Bits reads, writes, in, out;  // reads: before any write of the stretch
};

std::vector<Stretch> stretches_of(const Kernel& kernel, const std::vector<Effects>& effects,
                                  size_t registers) {
  const size_t count = kernel.code.size();
  std::vector<bool> leads(count + 1, false);
  leads[0] = true;
  for (size_t n = 0; n < count; ++n) {
    const Instruction& i = kernel.code[n];
    if (i.kind == Kind::kBranch) leads[static_cast<size_t>(i.immediate)] = true;
    if (i.kind == Kind::kBranch || i.kind == Kind::kExit) leads[n + 1] = true;
  }
  std::vector<Stretch> result;
  std::vector<size_t> stretch_at(count);
  const Bits none(registers);
  for (size_t n = 0; n < count; ++n) {
    if (leads[n]) result.push_back({n, n, {}, none, none, none, none});
    stretch_at[n] = result.size() - 1;
    Stretch& s = result.back();
    s.end = n + 1;
    for (const uint32_t r : effects[n].reads) {
      if (!s.writes.has(r)) s.reads.set(r);
    }
    // A write under a guard leaves the value of the other lanes.
    if (kernel.code[n].guard == 0) {
      for (const uint32_t r : effects[n].writes) s.writes.set(r);
    }
  }
  for (Stretch& s : result) {
    const Instruction& last = kernel.code[s.end - 1];
    const bool always = last.guard == 0;
    if (last.kind == Kind::kBranch)
      s.next.push_back(stretch_at[static_cast<size_t>(last.immediate)]);
    const bool leaves = always && (last.kind == Kind::kBranch || last.kind == Kind::kExit);
    if (!leaves && s.end < count) s.next.push_back(stretch_at[s.end]);
  }
  return result;
}

struct Interval {
  uint32_t number;
  size_t first, last;
};

// The stretch of code during which a register's value may be wanted. One that is read before it is
// written lives from the start on, so that the poison of the start is what is read.
std::vector<Interval> intervals_of(const Kernel& kernel, const std::vector<Effects>& effects,
                                   const std::vector<Register>& registers) {
  std::vector<Stretch> stretches = stretches_of(kernel, effects, registers.size());
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t n = stretches.size(); n-- > 0;) {
      Stretch& s = stretches[n];
      for (const size_t next : s.next) s.out.add(stretches[next].in, nullptr);
      if (s.in.add(s.reads, nullptr) | s.in.add(s.out, &s.writes)) changed = true;
    }
  }
  std::vector<Interval> all(registers.size());
  for (uint32_t r = 0; r < registers.size(); ++r) all[r] = {r, kernel.code.size(), 0};
  const auto alive = [&](size_t r, size_t at) {
    all[r].first = std::min(all[r].first, at);
    all[r].last = std::max(all[r].last, at);
  };
  for (const Stretch& s : stretches) {
    s.in.each([&](size_t r) { alive(r, s.begin); });
    s.out.each([&](size_t r) { alive(r, s.end); });
    for (size_t n = s.begin; n < s.end; ++n) {
      for (const uint32_t r : effects[n].reads) alive(r, n);
      // A result may lie where an operand ends: actions read a lane before they write it. What
      // nobody reads keeps its place for the one instruction.
      for (const uint32_t r : effects[n].writes) alive(r, n + 1);
    }
  }
  std::erase_if(all, [&](const Interval& i) {
    return i.first > i.last || registers[i.number].role != Register::kVariable;
  });
  std::sort(all.begin(), all.end(),
            [](const Interval& x, const Interval& y) { return x.first < y.first; });
  return all;
}

uint32_t bytes_of(Class cls) {
  return cls == Class::kPredicate ? 4 : cls == Class::kWord ? 4 * kLanes : 8 * kLanes;
}

}  // namespace

void place_registers(Kernel& kernel, const std::vector<Register>& registers,
                     const std::vector<Effects>& effects) {
  std::vector<uint32_t> places(registers.size(), 0);
  uint32_t at = bytes_of(Class::kLong);  // behind the sink
  const auto take = [](uint32_t& top, Class cls) {
    const uint32_t here = top;
    top += bytes_of(cls);
    return here;
  };
  for (uint32_t r = 0; r < registers.size(); ++r) {
    if (registers[r].role != Register::kSpecial) continue;
    places[r] = take(at, Class::kWord);
    kernel.specials.emplace_back(registers[r].special, places[r]);
  }

  const std::vector<Interval> intervals = intervals_of(kernel, effects, registers);
  for (const Class cls : {Class::kLong, Class::kWord, Class::kPredicate}) {
    std::vector<std::pair<size_t, uint32_t>> busy;  // heap: the last use, the place
    for (const Interval& interval : intervals) {
      if (registers[interval.number].cls != cls) continue;
      uint32_t& place = places[interval.number];
      if (!busy.empty() && busy.front().first < interval.first) {
        std::pop_heap(busy.begin(), busy.end(), std::greater<>());
        place = busy.back().second;
        busy.pop_back();
      } else {
        place = take(at, cls);
      }
      busy.emplace_back(interval.last, place);
      std::push_heap(busy.begin(), busy.end(), std::greater<>());
    }
  }
  kernel.file_bytes = (at + 63) / 64 * 64;

  uint32_t top = 0;
  for (uint32_t r = 0; r < registers.size(); ++r) {
    const Register& constant = registers[r];
    if (constant.role != Register::kConstant) continue;
    const uint32_t here = take(top, constant.cls);
    places[r] = here | 1;
    kernel.constants.resize(top);
    uint8_t* to = kernel.constants.data() + here;
    if (constant.cls == Class::kPredicate) {
      const uint32_t word = constant.bits != 0 ? kAll : 0;
      std::memcpy(to, &word, 4);
    } else {
      const size_t bytes = constant.cls == Class::kWord ? 4 : 8;
      for (int l = 0; l < kLanes; ++l) std::memcpy(to + bytes * l, &constant.bits, bytes);
    }
  }

  for (Instruction& i : kernel.code) {
    for (uint32_t* operand : {&i.guard, &i.d, &i.a, &i.b, &i.c, &i.e}) *operand = places[*operand];
  }
  for (uint32_t& operand : kernel.lists) operand = places[operand];
}

}  // namespace ptx
