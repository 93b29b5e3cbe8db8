// Instructions of the lanes of a mask: shuffles, votes, matches, reductions.
#include "lanes.h"
#include "operations.h"

namespace ptx {
namespace {

enum class Shuffle { kUp, kDown, kButterfly, kIndex };

// c: bits 0 to 4 clamp the lane that is read, bits 8 to 12 hold what all lanes of a segment share.
template <Shuffle kMode>
void shuffle(Warp& w, const Instruction& i, uint32_t lanes) {
  const auto a = source<uint32_t>(w, i.a), b = source<uint32_t>(w, i.b),
             c = source<uint32_t>(w, i.c);
  uint32_t values[kLanes], inside = 0;
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
    const int lane = __builtin_ctz(rest);
    const int by = static_cast<int>(b[lane] & 31);
    const int clamp = static_cast<int>(c[lane] & 31), segment = static_cast<int>(c[lane] >> 8 & 31);
    const int bottom = lane & segment, end = bottom | (clamp & ~segment);
    int from = lane;
    switch (kMode) {
      case Shuffle::kUp:
        from = lane - by;
        break;
      case Shuffle::kDown:
        from = lane + by;
        break;
      case Shuffle::kButterfly:
        from = lane ^ by;
        break;
      case Shuffle::kIndex:
        from = bottom | (by & ~segment);
        break;
    }
    const bool valid = kMode == Shuffle::kUp ? from >= end : from <= end;
    if (!valid) from = lane;
    if (!(lanes >> from & 1)) {
      fail(w, i, lane, "a shuffle reads lane " + std::to_string(from) + ", which takes no part");
    }
    values[lane] = a[from];
    inside |= uint32_t{valid} << lane;
  }
  const auto d = target<uint32_t>(w, i.d);
  each(lanes, [&values, d](int lane) { d.set(lane, values[lane]); });
  w.set_predicate(i.list[0], lanes, inside);
}

uint32_t votes(const Warp& w, const Instruction& i, uint32_t lanes) {
  const uint32_t p = w.predicate(i.a);
  return (i.negated ? ~p : p) & lanes;
}
void ballot(Warp& w, const Instruction& i, uint32_t lanes) {
  const uint32_t yes = votes(w, i, lanes);
  const auto d = target<uint32_t>(w, i.d);
  each(lanes, [=](int l) { d.set(l, yes); });
}
void any(Warp& w, const Instruction& i, uint32_t lanes) {
  w.set_predicate(i.d, lanes, votes(w, i, lanes) != 0 ? kAll : 0);
}
void all(Warp& w, const Instruction& i, uint32_t lanes) {
  w.set_predicate(i.d, lanes, votes(w, i, lanes) == lanes ? kAll : 0);
}
void uniform(Warp& w, const Instruction& i, uint32_t lanes) {
  const uint32_t yes = votes(w, i, lanes);
  w.set_predicate(i.d, lanes, yes == 0 || yes == lanes ? kAll : 0);
}
// The lanes that are at this very instruction.
void active_mask(Warp& w, const Instruction& i, uint32_t lanes) {
  const auto d = target<uint32_t>(w, i.d);
  each(lanes, [=](int l) { d.set(l, lanes); });
}

template <typename T>
void match_any(Warp& w, const Instruction& i, uint32_t lanes) {
  const auto a = source<T>(w, i.a);
  uint32_t same[kLanes] = {};
  for (uint32_t rest = lanes; rest != 0;) {  // value by value
    const T value = a[__builtin_ctz(rest)];
    uint32_t equal = 0;
    each(rest, [&](int l) { equal |= uint32_t{a[l] == value} << l; });
    each(equal, [&](int l) { same[l] = equal; });
    rest &= ~equal;
  }
  const auto d = target<uint32_t>(w, i.d);
  each(lanes, [&same, d](int l) { d.set(l, same[l]); });
}
template <typename T>
void match_all(Warp& w, const Instruction& i, uint32_t lanes) {
  const auto a = source<T>(w, i.a);
  const T value = a[__builtin_ctz(lanes)];
  bool equal = true;
  for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) equal &= a[__builtin_ctz(rest)] == value;
  const auto d = target<uint32_t>(w, i.d);
  each(lanes, [=](int l) { d.set(l, equal ? lanes : 0); });
  w.set_predicate(i.list[0], lanes, equal ? kAll : 0);
}

template <typename T, typename F>
void reduce(Warp& w, const Instruction& i, uint32_t lanes) {
  const auto a = source<T>(w, i.a);
  uint32_t rest = lanes;
  T result = a[__builtin_ctz(rest)];
  while ((rest &= rest - 1) != 0) result = F::apply(result, a[__builtin_ctz(rest)]);
  const auto d = target<T>(w, i.d);
  each(lanes, [=](int l) { d.set(l, result); });
}

void sync_warp(Warp& w, const Instruction&, uint32_t) { w.stamp = w.block->races.next_stamp(); }
void nop(Warp&, const Instruction&, uint32_t) {}
void trap(Warp& w, const Instruction& i, uint32_t lanes) {
  fail(w, i, __builtin_ctz(lanes), "trap");
}

}  // namespace

void add_collectives(Actions& t) {
  t["shfl.up"] = shuffle<Shuffle::kUp>;
  t["shfl.down"] = shuffle<Shuffle::kDown>;
  t["shfl.bfly"] = shuffle<Shuffle::kButterfly>;
  t["shfl.idx"] = shuffle<Shuffle::kIndex>;
  t["vote.ballot"] = ballot;
  t["vote.any"] = any;
  t["vote.all"] = all;
  t["vote.uni"] = uniform;
  t["activemask.b32"] = active_mask;
  t["match.any.b32"] = match_any<uint32_t>;
  t["match.any.b64"] = match_any<uint64_t>;
  t["match.all.b32"] = match_all<uint32_t>;
  t["match.all.b64"] = match_all<uint64_t>;
  t["redux.add.s32"] = t["redux.add.u32"] = reduce<uint32_t, Add>;
  t["redux.min.s32"] = reduce<int32_t, Min>;
  t["redux.min.u32"] = reduce<uint32_t, Min>;
  t["redux.max.s32"] = reduce<int32_t, Max>;
  t["redux.max.u32"] = reduce<uint32_t, Max>;
  t["redux.and.b32"] = reduce<uint32_t, And>;
  t["redux.or.b32"] = reduce<uint32_t, Or>;
  t["redux.xor.b32"] = reduce<uint32_t, Xor>;
  t["bar.warp.sync"] = sync_warp;
  t["nop"] = nop;
  t["trap"] = trap;
}

Action find_action(const std::string& name) {
  static const Actions table = [] {
    Actions t;
    add_arithmetic(t);
    add_conversions(t);
    add_memory(t);
    add_collectives(t);
    add_tensor_core(t);
    return t;
  }();
  const auto found = table.find(name);
  return found == table.end() ? nullptr : found->second;
}

}  // namespace ptx
