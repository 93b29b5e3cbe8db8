// PTX text into modules, and a kernel's text into instructions when it is first wanted.
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <unordered_map>

#include "program.h"

namespace ptx {
namespace {

using std::string;

[[noreturn]] void refuse(const string& what) { throw Error(Fault::kInvalidPtx, what); }

bool is_space(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }
bool is_digit(char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; }
bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '$' || c == '%' ||
         c == '.';
}

string trim(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return string(text);
}

// The trimmed parts between separators that stand in no bracket.
std::vector<string> split(std::string_view text, char separator) {
  std::vector<string> parts;
  size_t begin = 0;
  int depth = 0;
  for (size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (c == '{' || c == '[' || c == '(') ++depth;
    if (c == '}' || c == ']' || c == ')') --depth;
    if (c == separator && depth == 0) {
      parts.push_back(trim(text.substr(begin, at - begin)));
      begin = at + 1;
    }
  }
  parts.push_back(trim(text.substr(begin)));
  return parts;
}

uint32_t align_up(uint32_t at, uint32_t unit) { return (at + unit - 1) / unit * unit; }

uint32_t bytes_of_type(const string& type) {  // ".u32", "bf16", ...
  const size_t digit = type.find_first_of("0123456789");
  return digit == string::npos ? 0 : static_cast<uint32_t>(std::atoi(type.c_str() + digit)) / 8;
}

Class class_of(const string& type) {
  return type == "pred"             ? Class::kPredicate
         : bytes_of_type(type) == 8 ? Class::kLong
                                    : Class::kWord;
}

class Cursor {
 public:
  Cursor(const string& text, size_t at) : text_(text), at_(at) {}

  size_t at() const { return at_; }
  bool ends() const { return at_ >= text_.size(); }
  char here() const { return ends() ? '\0' : text_[at_]; }
  void advance(size_t by = 1) { at_ += by; }

  void skip_space() {
    while (!ends()) {
      if (is_space(here())) {
        ++at_;
      } else if (text_.compare(at_, 2, "//") == 0) {
        skip_line();
      } else if (text_.compare(at_, 2, "/*") == 0) {
        at_ = text_.find("*/", at_) + 2;
      } else {
        break;
      }
    }
  }
  string line() const { return text_.substr(at_, text_.find('\n', at_) - at_); }
  void skip_line() {
    const size_t end = text_.find('\n', at_);
    at_ = end == string::npos ? text_.size() : end;
  }
  string word() const {
    size_t end = at_;
    while (end < text_.size() && is_word(text_[end])) ++end;
    return text_.substr(at_, end - at_);
  }
  // What stands before the next of these characters, without comments; it is passed, too.
  string take_until(char stop) {
    string taken;
    const char stops[] = {stop, '/', '\0'};
    for (;;) {
      const size_t end = text_.find_first_of(stops, at_);
      if (end == string::npos) refuse("the text ends in: " + trim(taken).substr(0, 100));
      taken.append(text_, at_, end - at_);
      at_ = end;
      if (here() == stop) break;
      if (text_.compare(at_, 2, "//") == 0) {
        skip_line();
      } else {
        taken += text_[at_++];
      }
    }
    ++at_;
    return taken;
  }
  void skip_braces() {  // from the next { to its }
    int depth = 0;
    do {
      at_ = text_.find_first_of("{}", at_);
      if (at_ == string::npos) refuse("a brace is not closed");
      depth += text_[at_++] == '{' ? 1 : -1;
    } while (depth > 0);
  }

 private:
  const string& text_;
  size_t at_;
};

// .align 4 .b8 name[64] = {1, 2}
struct Declaration {
  uint32_t align = 1, element = 1;
  uint64_t count = 1;  // 0: []
  string name;
  std::vector<string> values;

  explicit Declaration(const string& statement) {
    const size_t equals = statement.find('=');
    const string head = statement.substr(0, equals);
    for (size_t at = 0; at < head.size();) {
      if (is_space(head[at])) {
        ++at;
      } else if (head[at] == '[') {
        count = std::strtoull(head.c_str() + at + 1, nullptr, 10);
        at = head.find(']', at) + 1;
      } else {
        size_t end = at;
        while (end < head.size() && is_word(head[end])) ++end;
        if (end == at) refuse("a declaration that is not understood: " + trim(statement));
        take(head.substr(at, end - at));
        at = end;
      }
    }
    if (equals == string::npos) return;
    string list = trim(statement.substr(equals + 1));
    if (list[0] == '{') list = list.substr(1, list.size() - 2);
    values = split(list, ',');
  }

  uint32_t bytes() const { return static_cast<uint32_t>(element * count); }

  std::vector<uint8_t> initial() const {
    std::vector<uint8_t> data(bytes(), 0);
    for (size_t n = 0; n < values.size(); ++n) {
      char* end = nullptr;
      const uint64_t value = std::strtoull(values[n].c_str(), &end, 0);
      if (*end != '\0') refuse("the initial value '" + values[n] + "' of " + name);
      std::memcpy(data.data() + n * element, &value, element);
    }
    return data;
  }

 private:
  void take(const string& word) {
    if (word == ".align") {
      expects_alignment_ = true;
    } else if (expects_alignment_) {
      align = static_cast<uint32_t>(std::atoi(word.c_str()));
      expects_alignment_ = false;
      aligned_ = true;
    } else if (word[0] != '.') {
      name = word;
    } else if (is_digit(word.back())) {  // a type
      element = bytes_of_type(word);
      if (element == 0) refuse("a variable of type " + word);
      if (!aligned_) align = element;
    }
  }
  bool expects_alignment_ = false, aligned_ = false;
};

// A variable of shared or local memory, behind those before it.
void place(const Declaration& variable, std::map<string, uint32_t>& names, uint32_t& bytes) {
  bytes = align_up(bytes, variable.align);
  names[variable.name] = bytes;
  bytes += variable.bytes();
}

class KernelParser {
 public:
  KernelParser(Module& module, Kernel& kernel)
      : module_(module), kernel_(kernel), cursor_(module.text, kernel.text) {}

  void parse() {
    registers_.push_back({Register::kSink, Class::kLong});
    shared_ = module_.shared;
    kernel_.static_shared = module_.shared_bytes;
    parse_head();
    scopes_.emplace_back();
    while (!scopes_.empty()) parse_statement();
    for (const auto& [index, label] : branches_) {
      const auto found = labels_.find(label);
      if (found == labels_.end()) refuse("no label " + label + " in " + kernel_.name);
      kernel_.code[index].immediate = found->second;
    }
    // Running off the end is a return.
    instruction_ = {};
    instruction_.kind = Kind::kExit;
    effects_now_ = {};
    finish(cursor_.at() - 1);
    for (const auto& [index, at] : lists_) kernel_.code[index].list = kernel_.lists.data() + at;
    // Dynamic shared memory follows the static one.
    kernel_.static_shared = align_up(kernel_.static_shared, 16);
    kernel_.local_bytes = align_up(kernel_.local_bytes, 16);
    place_registers(kernel_, registers_, effects_);
    kernel_.parsed = true;
  }

 private:
  using Names = std::unordered_map<string, uint32_t>;

  // ---- what stands around the instructions

  void parse_head() {
    cursor_.skip_space();
    if (cursor_.here() == '(') {
      cursor_.advance();
      for (const string& text : split(cursor_.take_until(')'), ',')) {
        if (!text.empty()) parse_parameter(text);
      }
    }
    for (cursor_.skip_space(); cursor_.here() != '{'; cursor_.skip_space()) {
      const string directive = cursor_.word();
      cursor_.advance(directive.size());
      if (directive == ".maxntid") {
        kernel_.max_threads = 1;
        for (const string& size : split(cursor_.line(), ',')) {
          kernel_.max_threads *= static_cast<uint32_t>(std::atoi(size.c_str()));
        }
      } else if (directive != ".minnctapersm" && directive != ".maxnreg") {
        refuse("the directive '" + directive + "' of " + kernel_.name);
      }
      cursor_.skip_line();
    }
    cursor_.advance();
  }

  // .param .align 8 .b8 name[24], .param .u64 .ptr .global .align 1 name
  void parse_parameter(string text) {
    uint32_t pointee = 0;
    if (const size_t pointer = text.find(".ptr"); pointer != string::npos) {
      // What is said of the memory behind a pointer does not concern the parameter.
      const size_t name = text.find_last_of(" \t") + 1;
      text = text.substr(0, pointer) + text.substr(name);
      pointee = 1;
    }
    const Declaration parameter(text);
    uint32_t& at = kernel_.parameter_bytes;
    at = align_up(at, pointee ? parameter.element : parameter.align);
    kernel_.parameters.push_back({parameter.name, at, parameter.bytes()});
    at += parameter.bytes();
  }

  void parse_statement() {
    cursor_.skip_space();
    const char c = cursor_.here();
    if (c == '{' || c == '}' || c == ';') {
      cursor_.advance();
      if (c == '{') scopes_.emplace_back();
      if (c == '}') scopes_.pop_back();
      return;
    }
    const string word = cursor_.word();
    if (word == ".loc") {
      char* end = nullptr;  // .loc file line column, ...
      origin_.file =
          static_cast<int>(std::strtol(module_.text.c_str() + cursor_.at() + 4, &end, 10));
      origin_.line = static_cast<int>(std::strtol(end, nullptr, 10));
      cursor_.skip_line();
      return;
    }
    if (!word.empty() && word[0] != '.' && module_.text[cursor_.at() + word.size()] == ':') {
      labels_[word] = static_cast<int64_t>(kernel_.code.size());
      cursor_.advance(word.size() + 1);
      return;
    }
    const size_t start = cursor_.at();
    const string statement = trim(cursor_.take_until(';'));
    if (word == ".pragma") return;
    try {
      if (word == ".reg") {
        declare_registers(statement);
      } else if (word == ".shared" || word == ".local") {
        declare_memory(word, statement);
      } else if (word.empty() || word[0] == '.') {
        if (statement[0] != '@') refuse("the directive '" + word + "'");
        parse_instruction(statement, start);
      } else {
        parse_instruction(statement, start);
      }
    } catch (const Error& error) {
      const auto file = module_.files.find(origin_.file);
      refuse(string(error.what()).substr(5) + " in '" + statement + "' of " + kernel_.name +
             (file == module_.files.end()
                  ? ""
                  : ", " + file->second + ":" + std::to_string(origin_.line)));
    }
  }

  void declare_memory(const string& space, const string& statement) {
    const Declaration variable(statement);
    if (space == ".local") {
      place(variable, local_, kernel_.local_bytes);
      return;
    }
    if (dynamic_used_) refuse("static shared memory declared behind a use of the dynamic one");
    place(variable, shared_, kernel_.static_shared);
  }

  // .reg .b32 %r<10>, x;
  void declare_registers(const string& statement) {
    size_t end = 4;
    while (is_space(statement[end])) ++end;
    const size_t begin = end;
    while (!is_space(statement[end])) ++end;
    const string type = statement.substr(begin + 1, end - begin - 1);
    if (bytes_of_type(type) > 8) refuse("registers of type " + type);
    for (const string& name : split(statement.substr(end), ',')) {
      const size_t angle = name.find('<');
      const int count = angle == string::npos ? 1 : std::atoi(name.c_str() + angle + 1);
      for (int n = 0; n < count; ++n) {
        const string full =
            angle == string::npos ? name : name.substr(0, angle) + std::to_string(n);
        scopes_.back()[full] = add_register({Register::kVariable, class_of(type)});
      }
    }
  }

  uint32_t add_register(const Register& r) {
    registers_.push_back(r);
    return static_cast<uint32_t>(registers_.size() - 1);
  }

  // ---- operands

  uint32_t find_register(const string& name) const {  // 0 if there is none
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      const auto found = scope->find(name);
      if (found != scope->end()) return found->second;
    }
    return 0;
  }

  uint32_t constant(uint64_t bits, Class cls) {
    const auto [found, added] = constants_.try_emplace({bits, cls}, 0);
    if (added) found->second = add_register({Register::kConstant, cls, {}, bits});
    return found->second;
  }

  uint32_t special(const string& name) {
    static const std::unordered_map<string, Special> known = {
        {"%tid.x", Special::kTidX},
        {"%tid.y", Special::kTidY},
        {"%tid.z", Special::kTidZ},
        {"%ctaid.x", Special::kCtaidX},
        {"%ctaid.y", Special::kCtaidY},
        {"%ctaid.z", Special::kCtaidZ},
        {"%ntid.x", Special::kNtidX},
        {"%ntid.y", Special::kNtidY},
        {"%ntid.z", Special::kNtidZ},
        {"%nctaid.x", Special::kNctaidX},
        {"%nctaid.y", Special::kNctaidY},
        {"%nctaid.z", Special::kNctaidZ},
        {"%laneid", Special::kLane},
        {"%warpid", Special::kWarp},
        {"%lanemask_eq", Special::kMaskEqual},
        {"%lanemask_lt", Special::kMaskLess},
        {"%lanemask_le", Special::kMaskLessEqual},
        {"%lanemask_gt", Special::kMaskGreater},
        {"%lanemask_ge", Special::kMaskGreaterEqual},
    };
    const auto found = known.find(name);
    if (found == known.end()) refuse("the register '" + name + "'");
    const auto [number, added] = specials_.try_emplace(name, 0);
    if (added) number->second = add_register({Register::kSpecial, Class::kWord, found->second});
    return number->second;
  }

  // The value of a literal or of a name that stands for an address.
  bool literal(const string& word, uint64_t& bits) {
    if (word.empty()) return false;
    const char kind = word.size() > 1 ? static_cast<char>(std::tolower(word[1])) : ' ';
    if (word[0] == '0' && (kind == 'f' || kind == 'd')) {
      bits = std::strtoull(word.c_str() + 2, nullptr, 16);
      return true;
    }
    if (is_digit(word[0]) || word[0] == '-') {
      const bool negative = word[0] == '-';
      char* end = nullptr;
      const uint64_t value = std::strtoull(word.c_str() + negative, &end, 0);
      if (*end != '\0' && *end != 'U') refuse("the number '" + word + "'");
      bits = negative ? -value : value;
      return true;
    }
    if (const auto found = shared_.find(word); found != shared_.end()) {
      bits = found->second;
      return true;
    }
    if (const auto found = local_.find(word); found != local_.end()) {
      bits = found->second;
      return true;
    }
    if (module_.dynamic_shared.contains(word)) {
      bits = align_up(kernel_.static_shared, 16);
      dynamic_used_ = true;
      return true;
    }
    for (const Parameter& parameter : kernel_.parameters) {
      if (parameter.name == word) {
        bits = parameter.offset;
        return true;
      }
    }
    if (const auto found = module_.variables.find(word); found != module_.variables.end()) {
      bits = reinterpret_cast<uint64_t>(found->second.data());
      return true;
    }
    return false;
  }

  uint64_t number(const string& word) {
    uint64_t bits = 0;
    if (!literal(word, bits)) refuse("'" + word + "' is no number");
    return bits;
  }

  // A register must have the class that the instruction wants, unless that asks which it has.
  uint32_t checked(uint32_t number, const string& word, Class cls, Class* has) const {
    const Class is = registers_[number].cls;
    if (has != nullptr) {
      if (is == Class::kPredicate) refuse("the predicate '" + word + "'");
      *has = is;
    } else if (is != cls) {
      refuse("the width of '" + word + "'");
    }
    return number;
  }

  uint32_t read(const string& word, Class cls, Class* has = nullptr) {
    if (const uint32_t found = find_register(word)) {
      effects_now_.reads.push_back(found);
      return checked(found, word, cls, has);
    }
    if (word[0] == '%') return checked(special(word), word, cls, has);
    uint64_t bits = 0;
    if (!literal(word, bits)) refuse("the operand '" + word + "'");
    if (has != nullptr) *has = cls;
    return constant(bits, cls);
  }

  uint32_t write(const string& word, Class cls, Class* has = nullptr) {
    if (word == "_") {  // the sink
      if (has != nullptr) *has = cls;
      return 0;
    }
    const uint32_t found = find_register(word);
    if (found == 0) refuse("the result '" + word + "'");
    effects_now_.writes.push_back(found);
    return checked(found, word, cls, has);
  }

  uint32_t read_predicate(string word) {
    if (word[0] == '!') {
      instruction_.negated = true;
      word = trim(word.substr(1));
    }
    return read(word, Class::kPredicate);
  }

  static std::vector<string> elements(const string& text) {
    if (text[0] != '{') return {text};
    return split(std::string_view(text).substr(1, text.size() - 2), ',');
  }

  void add_to_list(uint32_t operand) {
    if (list_.empty()) lists_.emplace_back(kernel_.code.size(), kernel_.lists.size());
    list_.push_back(operand);
    kernel_.lists.push_back(operand);
  }

  // [register + number]: the register, and the number as `immediate`.
  uint32_t address(const string& text, int64_t& immediate, Class& cls) {
    if (text.size() < 3 || text[0] != '[') refuse("the address '" + text + "'");
    string inner = trim(text.substr(1, text.size() - 2));
    if (const size_t plus = inner.find('+'); plus != string::npos) {
      immediate = static_cast<int64_t>(number(trim(inner.substr(plus + 1))));
      inner = trim(inner.substr(0, plus));
    }
    return read(inner, Class::kLong, &cls);
  }
  void read_address(const string& text) {
    instruction_.a = address(text, instruction_.immediate, instruction_.source_class);
  }

  // ---- instructions

  bool has(const char* part) const {
    for (const string& p : parts_) {
      if (p == part) return true;
    }
    return false;
  }
  void want(size_t least, size_t most) const {
    if (operands_.size() < least || operands_.size() > most) {
      refuse(std::to_string(operands_.size()) + " operands of " + opcode_);
    }
  }
  void want(size_t count) const { want(count, count); }
  void act(const string& name) {
    instruction_.action = find_action(name);
    if (instruction_.action == nullptr) refuse("the instruction '" + opcode_ + "'");
  }
  void touch_shared(uint32_t bytes) { kernel_.granule = std::min(kernel_.granule, bytes); }

  void parse_instruction(const string& statement, size_t start) {
    instruction_ = {};
    effects_now_ = {};
    list_.clear();
    std::string_view rest = statement;
    const auto take_word = [&rest] {
      size_t end = 0;
      while (end < rest.size() && !is_space(rest[end])) ++end;
      const string word(rest.substr(0, end));
      while (end < rest.size() && is_space(rest[end])) ++end;
      rest.remove_prefix(end);
      return word;
    };
    if (rest[0] == '@') {
      string name = take_word().substr(1);
      instruction_.guard_negated = name[0] == '!';
      if (instruction_.guard_negated) name = name.substr(1);
      instruction_.guard = read(name, Class::kPredicate);
    }
    opcode_ = take_word();
    parts_ = split(opcode_, '.');
    operands_.clear();
    if (!rest.empty()) operands_ = split(rest, ',');

    using Method = void (KernelParser::*)();
    static const std::unordered_map<string, Method> methods = {
        {"bra", &KernelParser::parse_branch},
        {"ret", &KernelParser::parse_exit},
        {"exit", &KernelParser::parse_exit},
        {"ld", &KernelParser::parse_memory},
        {"st", &KernelParser::parse_memory},
        {"atom", &KernelParser::parse_atomic},
        {"red", &KernelParser::parse_atomic},
        {"ldmatrix", &KernelParser::parse_load_matrix},
        {"mma", &KernelParser::parse_multiply_matrix},
        {"cp", &KernelParser::parse_copy},
        {"bar", &KernelParser::parse_barrier},
        {"barrier", &KernelParser::parse_barrier},
        {"shfl", &KernelParser::parse_shuffle},
        {"vote", &KernelParser::parse_vote},
        {"match", &KernelParser::parse_match},
        {"redux", &KernelParser::parse_reduce},
        {"activemask", &KernelParser::parse_active_mask},
        {"membar", &KernelParser::parse_nothing},
        {"fence", &KernelParser::parse_nothing},
        {"nanosleep", &KernelParser::parse_nothing},
        {"prefetch", &KernelParser::parse_nothing},
        {"trap", &KernelParser::parse_trap},
        {"cvta", &KernelParser::parse_address_conversion},
        {"mov", &KernelParser::parse_move},
        {"cvt", &KernelParser::parse_conversion},
        {"setp", &KernelParser::parse_comparison},
        {"selp", &KernelParser::parse_selection},
        {"bfi", &KernelParser::parse_bit_field_insert},
    };
    const auto method = methods.find(parts_[0]);
    (this->*(method != methods.end() ? method->second : &KernelParser::parse_arithmetic))();
    finish(start);
  }

  void finish(size_t start) {
    origin_.text = static_cast<uint32_t>(start);
    kernel_.code.push_back(instruction_);
    kernel_.origins.push_back(origin_);
    effects_.push_back(effects_now_);
  }

  void parse_branch() {
    want(1);
    if (has("idx")) refuse("the instruction '" + opcode_ + "'");
    instruction_.kind = Kind::kBranch;
    branches_.emplace_back(kernel_.code.size(), operands_[0]);
  }
  void parse_exit() { instruction_.kind = Kind::kExit; }
  void parse_nothing() { act("nop"); }
  void parse_trap() { act("trap"); }

  // The space, the type and, of atomics, the operation; width and bytes on the way.
  struct Access {
    string space = "global", type, operation;
  };
  Access parse_access() {
    static const std::set<string> operations = {"add", "min",  "max", "and", "or",
                                                "xor", "exch", "cas", "inc", "dec"};
    static const std::set<string> orders = {"volatile", "relaxed", "acquire", "release", "acq_rel"};
    static const std::set<string> hints = {"weak", "gpu", "cta", "sys", "cg", "ca",
                                           "cs",   "nc",  "cv",  "wt",  "lu", "wb"};
    Access access;
    access.type = parts_.back();
    for (size_t k = 1; k + 1 < parts_.size(); ++k) {
      const string& part = parts_[k];
      if (part == "global" || part == "shared" || part == "param" || part == "local") {
        access.space = part;
      } else if (part == "v2" || part == "v4") {
        instruction_.width = static_cast<uint8_t>(part[1] - '0');
      } else if (operations.contains(part)) {
        access.operation = part;
      } else if (part != "const" && !orders.contains(part) && !hints.contains(part) &&
                 !part.starts_with("L1::") &&
                 !part.starts_with("L2::")) {  // constants lie in global memory
        refuse("the instruction '" + opcode_ + "'");
      }
    }
    instruction_.bytes = static_cast<uint8_t>(bytes_of_type(access.type));
    instruction_.sign = access.type[0] == 's';
    if (access.space == "shared") touch_shared(instruction_.bytes * instruction_.width);
    return access;
  }

  void parse_memory() {
    want(2);
    const bool load = parts_[0] == "ld";
    const Access access = parse_access();
    act(parts_[0] + "." + access.space + "." + std::to_string(instruction_.bytes) + "." +
        std::to_string(instruction_.width));
    const auto list = elements(operands_[load ? 0 : 1]);
    if (list.size() != instruction_.width) refuse("the vector of " + opcode_);
    for (size_t k = 0; k < list.size(); ++k) {
      Class cls;
      const uint32_t value = load ? write(list[k], class_of(access.type), &cls)
                                  : read(list[k], class_of(access.type), &cls);
      if (k > 0 && cls != instruction_.value_class && list[k] != "_") {
        refuse("registers of different widths in " + opcode_);
      }
      if (k == 0 || list[k - 1] == "_") instruction_.value_class = cls;
      if (list.size() > 1) {
        add_to_list(value);
      } else {
        (load ? instruction_.d : instruction_.b) = value;
      }
    }
    read_address(operands_[load ? 1 : 0]);
  }

  void parse_atomic() {
    const bool returns = parts_[0] == "atom";
    const size_t first = returns ? 1 : 0;
    const Access access = parse_access();
    const bool swaps = access.operation == "cas";
    want(first + (swaps ? 3 : 2));
    act("atom." + access.space + "." + access.operation + "." + access.type);
    if (instruction_.width > 1 && (returns || swaps)) refuse("the instruction '" + opcode_ + "'");
    const Class cls = class_of(access.type);
    if (returns) instruction_.d = write(operands_[0], cls);
    read_address(operands_[first]);
    const auto list = elements(operands_[first + 1]);
    if (list.size() != instruction_.width) refuse("the vector of " + opcode_);
    if (list.size() == 1) {
      instruction_.b = read(list[0], cls);
    } else {
      for (const string& word : list) add_to_list(read(word, cls));
    }
    if (swaps) instruction_.c = read(operands_[first + 2], cls);
  }

  // ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {r, ...}, [a];
  void parse_load_matrix() {
    want(2);
    instruction_.kind = Kind::kAligned;
    if (!has("m8n8") || !has("shared") || parts_.back() != "b16") {
      refuse("the instruction '" + opcode_ + "'");
    }
    const string count = has("x4") ? "x4" : has("x2") ? "x2" : "x1";
    act("ldmatrix." + count + (has("trans") ? ".trans" : ""));
    const auto list = elements(operands_[0]);
    if (list.size() != static_cast<size_t>(count[1] - '0')) refuse("the vector of " + opcode_);
    for (const string& word : list) add_to_list(write(word, Class::kWord));
    read_address(operands_[1]);
    touch_shared(16);
  }

  // mma.sync.aligned.shape... {d}, {a}, {b}, {c};
  void parse_multiply_matrix() {
    want(4);
    instruction_.kind = Kind::kAligned;
    string name = "mma";
    for (size_t k = 1; k < parts_.size(); ++k) {
      if (parts_[k] != "sync" && parts_[k] != "aligned") name += "." + parts_[k];
    }
    act(name);
    const size_t sizes[4] = {4, 4, 2, 4};
    for (size_t n = 0; n < 4; ++n) {
      const auto list = elements(operands_[n]);
      if (list.size() != sizes[n]) refuse("the fragments of " + opcode_);
      for (const string& word : list) {
        add_to_list(n == 0 ? write(word, Class::kWord) : read(word, Class::kWord));
      }
    }
  }

  void parse_copy() {
    if (!has("async") || has("bulk") || has("mbarrier")) {
      refuse("the instruction '" + opcode_ + "'");
    }
    if (has("commit_group")) {
      act("cp.commit");
    } else if (has("wait_group") || has("wait_all")) {
      act("cp.wait");
      instruction_.immediate = has("wait_all") ? -1 : static_cast<int64_t>(number(operands_.at(0)));
    } else {
      // cp.async.ca.shared.global [to], [from], bytes {, bytes of the source};
      want(3, 4);
      if (!has("shared") || !has("global")) refuse("the instruction '" + opcode_ + "'");
      act("cp.async");
      read_address(operands_[0]);
      int64_t offset = 0;
      Class cls;
      instruction_.b = address(operands_[1], offset, cls);
      if (offset != 0 || cls != Class::kLong) refuse("the address '" + operands_[1] + "'");
      const uint64_t bytes = number(operands_[2]);
      instruction_.bytes = static_cast<uint8_t>(bytes);
      if (bytes != 4 && bytes != 8 && bytes != 16) refuse("copies of " + operands_[2] + " bytes");
      instruction_.c = read(operands_.back(), Class::kWord);
      touch_shared(instruction_.bytes);
    }
  }

  // bar.sync a {, b}; bar.red.popc.u32 d, a {, b}, p; bar.red.or.pred d, a {, b}, p;
  void parse_barrier() {
    if (has("warp")) {
      want(1);
      instruction_.kind = Kind::kSync;
      act("bar.warp.sync");
      instruction_.e = read(operands_[0], Class::kWord);
      return;
    }
    instruction_.kind = Kind::kBarrier;
    size_t next = 0;
    if (has("red")) {
      want(3, 4);
      const bool counts = has("popc");
      if (!counts && !has("or") && !has("and")) refuse("the instruction '" + opcode_ + "'");
      instruction_.immediate = counts ? 'p' : has("or") ? 'o' : 'a';
      instruction_.d = write(operands_[next++], counts ? Class::kWord : Class::kPredicate);
      instruction_.c = read_predicate(operands_.back());
      operands_.pop_back();
    } else if (!has("sync")) {
      refuse("the instruction '" + opcode_ + "'");
    }
    want(next + 1, next + 2);
    instruction_.a = read(operands_[next++], Class::kWord);
    if (next < operands_.size()) instruction_.b = read(operands_[next], Class::kWord);
  }

  // shfl.sync.mode.b32 d|p, a, b, c, mask;
  void parse_shuffle() {
    want(5);
    instruction_.kind = Kind::kSync;
    if (parts_.size() != 4 || parts_[1] != "sync") refuse("the instruction '" + opcode_ + "'");
    act("shfl." + parts_[2]);
    const auto both = split(operands_[0], '|');
    instruction_.d = write(both[0], Class::kWord);
    add_to_list(both.size() > 1 ? write(both[1], Class::kPredicate) : 0);
    instruction_.a = read(operands_[1], Class::kWord);
    instruction_.b = read(operands_[2], Class::kWord);
    instruction_.c = read(operands_[3], Class::kWord);
    instruction_.e = read(operands_[4], Class::kWord);
  }

  // vote.sync.mode.type d, {!}p, mask;
  void parse_vote() {
    want(3);
    instruction_.kind = Kind::kSync;
    string mode;
    for (size_t k = 1; k + 1 < parts_.size(); ++k) {
      if (parts_[k] != "sync") mode = parts_[k];
    }
    act("vote." + mode);
    instruction_.d = write(operands_[0], mode == "ballot" ? Class::kWord : Class::kPredicate);
    instruction_.a = read_predicate(operands_[1]);
    instruction_.e = read(operands_[2], Class::kWord);
  }

  // match.any.sync.b32 d, a, mask; match.all.sync.b32 d|p, a, mask;
  void parse_match() {
    want(3);
    instruction_.kind = Kind::kSync;
    act("match." + parts_[1] + "." + parts_.back());
    const auto both = split(operands_[0], '|');
    instruction_.d = write(both[0], Class::kWord);
    add_to_list(both.size() > 1 ? write(both[1], Class::kPredicate) : 0);
    instruction_.a = read(operands_[1], class_of(parts_.back()));
    instruction_.e = read(operands_[2], Class::kWord);
  }

  // redux.sync.operation.type d, a, mask;
  void parse_reduce() {
    want(3);
    instruction_.kind = Kind::kSync;
    act("redux." + parts_.at(2) + "." + parts_.back());
    instruction_.d = write(operands_[0], Class::kWord);
    instruction_.a = read(operands_[1], Class::kWord);
    instruction_.e = read(operands_[2], Class::kWord);
  }

  void parse_active_mask() {
    want(1);
    act(opcode_);
    instruction_.d = write(operands_[0], Class::kWord);
  }

  // Generic addresses are those of the host: global ones already, local ones by a lane's memory.
  void parse_address_conversion() {
    want(2);
    if (opcode_ == "cvta.local.u64") {
      act("cvta.local");
    } else if (opcode_ == "cvta.to.global.u64" || opcode_ == "cvta.global.u64") {
      act("mov.b64");
    } else {
      refuse("the instruction '" + opcode_ + "'");
    }
    instruction_.d = write(operands_[0], Class::kLong);
    instruction_.a = read(operands_[1], Class::kLong);
  }

  // mov.b32 d, a; mov.b64 {low, high}, a; mov.b64 d, {low, high};
  void parse_move() {
    want(2);
    if (parts_.size() != 2) refuse("the instruction '" + opcode_ + "'");
    const string& type = parts_[1];
    const Class cls = class_of(type);
    const bool unpacks = operands_[0][0] == '{', packs = operands_[1][0] == '{';
    if (unpacks || packs) {
      act(string(unpacks ? "unpack.b" : "pack.b") + std::to_string(8 * bytes_of_type(type)));
      const auto list = elements(operands_[unpacks ? 0 : 1]);
      if (list.size() != 2) refuse("the vector of " + opcode_);
      for (const string& word : list) {
        add_to_list(unpacks ? write(word, Class::kWord) : read(word, Class::kWord));
      }
      if (unpacks) {
        instruction_.a = read(operands_[1], cls);
      } else {
        instruction_.d = write(operands_[0], cls);
      }
      return;
    }
    if (bytes_of_type(type) > 8) refuse("the instruction '" + opcode_ + "'");
    act(cls == Class::kPredicate ? "mov.pred" : cls == Class::kLong ? "mov.b64" : "mov.b32");
    instruction_.d = write(operands_[0], cls);
    instruction_.a = read(operands_[1], cls);
  }

  void parse_conversion() {
    if (parts_.size() < 3) refuse("the instruction '" + opcode_ + "'");
    const string &to = parts_[parts_.size() - 2], &from = parts_.back();
    if (to == "bf16x2") {
      want(3);
      act(opcode_);
      instruction_.d = write(operands_[0], Class::kWord);
      instruction_.a = read(operands_[1], Class::kWord);
      instruction_.b = read(operands_[2], Class::kWord);
      return;
    }
    want(2);
    const auto is_integer = [](const string& type) { return type[0] == 's' || type[0] == 'u'; };
    if (!is_integer(to) || !is_integer(from)) {
      act(opcode_);
      instruction_.d = write(operands_[0], class_of(to));
      instruction_.a = read(operands_[1], class_of(from));
      return;
    }
    instruction_.d = write(operands_[0], class_of(to), &instruction_.value_class);
    instruction_.a = read(operands_[1], class_of(from), &instruction_.source_class);
    instruction_.bytes = static_cast<uint8_t>(bytes_of_type(from));
    instruction_.sign = from[0] == 's';
    instruction_.target_bytes = static_cast<uint8_t>(bytes_of_type(to));
    instruction_.target_sign = to[0] == 's';
    const bool from_long = instruction_.source_class == Class::kLong;
    const bool to_long = instruction_.value_class == Class::kLong;
    act(parts_.size() != 3 ? opcode_
        : to_long && instruction_.target_bytes == 8 && !from_long && instruction_.bytes == 4
            ? "cvt.to_long"
        : !to_long && instruction_.target_bytes == 4 && from_long && instruction_.bytes == 8
            ? "cvt.to_word"
            : "cvt.integer");
  }

  // setp.lt.s32 p, a, b; setp.lt.s32 p|q, a, b;
  void parse_comparison() {
    act(opcode_);
    want(3);
    const auto both = split(operands_[0], '|');
    instruction_.d = write(both[0], Class::kPredicate);
    if (both.size() > 1) instruction_.e = write(both[1], Class::kPredicate);
    instruction_.a = read(operands_[1], class_of(parts_.back()));
    instruction_.b = read(operands_[2], class_of(parts_.back()));
  }

  void parse_selection() {
    want(4);
    const Class cls = class_of(parts_.back());
    act(cls == Class::kLong ? "selp.b64" : "selp.b32");
    instruction_.d = write(operands_[0], cls);
    instruction_.a = read(operands_[1], cls);
    instruction_.b = read(operands_[2], cls);
    instruction_.c = read(operands_[3], Class::kPredicate);
  }

  void parse_bit_field_insert() {
    act(opcode_);
    want(5);
    const Class cls = class_of(parts_.back());
    instruction_.d = write(operands_[0], cls);
    instruction_.a = read(operands_[1], cls);
    instruction_.b = read(operands_[2], cls);
    instruction_.c = read(operands_[3], Class::kWord);
    instruction_.e = read(operands_[4], Class::kWord);
  }

  // One to three operands of the type's width, but for what is said here.
  void parse_arithmetic() {
    static const std::unordered_map<string, size_t> sources = {
        {"abs", 1},  {"neg", 1},  {"not", 1},  {"cnot", 1},  {"popc", 1}, {"clz", 1},
        {"brev", 1}, {"sqrt", 1}, {"rcp", 1},  {"rsqrt", 1}, {"ex2", 1},  {"lg2", 1},
        {"sin", 1},  {"cos", 1},  {"tanh", 1}, {"fma", 3},   {"mad", 3},  {"bfe", 3},
    };
    const string& base = parts_[0];
    act(opcode_);
    const auto found = sources.find(base);
    want(1 + (found != sources.end() ? found->second : 2));
    const Class cls = class_of(parts_.back());
    const bool wide = parts_.size() > 1 && parts_[1] == "wide";
    const Class twice = bytes_of_type(parts_.back()) == 2 ? Class::kWord : Class::kLong;
    Class result = wide ? twice : cls, second = cls, third = result;
    if (base == "popc" || base == "clz") result = Class::kWord;
    if (base == "shl" || base == "shr" || base == "bfe") second = third = Class::kWord;
    instruction_.d = write(operands_[0], result);
    instruction_.a = read(operands_[1], cls);
    if (operands_.size() > 2) instruction_.b = read(operands_[2], second);
    if (operands_.size() > 3) instruction_.c = read(operands_[3], third);
  }

  Module& module_;
  Kernel& kernel_;
  Cursor cursor_;
  Origin origin_ = {};
  std::vector<Register> registers_;
  std::vector<Effects> effects_;  // of all instructions
  std::vector<Names> scopes_;
  std::map<std::pair<uint64_t, Class>, uint32_t> constants_;
  std::map<string, uint32_t> specials_, shared_, local_;
  std::unordered_map<string, int64_t> labels_;
  std::vector<std::pair<size_t, string>> branches_;
  std::vector<std::pair<size_t, size_t>> lists_;  // instructions, where their lists begin
  bool dynamic_used_ = false;

  // Of the instruction under way.
  Instruction instruction_;
  Effects effects_now_;
  std::vector<uint32_t> list_;
  string opcode_;
  std::vector<string> parts_, operands_;
};

}  // namespace

Module::Module(string ptx) : text(std::move(ptx)) {
  Cursor cursor(text, 0);
  for (cursor.skip_space(); !cursor.ends(); cursor.skip_space()) {
    const string word = cursor.word();
    if (word == ".version" || word == ".target" || word == ".address_size") {
      cursor.skip_line();
    } else if (word == ".file") {  // .file number "name", ...
      const int number = std::atoi(text.c_str() + cursor.at() + 5);
      const std::vector<string> quoted = split(cursor.line(), '"');
      if (quoted.size() < 2) refuse("the directive '" + cursor.line() + "'");
      files[number] = quoted[1];
      cursor.skip_line();
    } else if (word == ".section") {
      cursor.skip_braces();
    } else if (word == ".visible" || word == ".weak" || word == ".extern") {
      cursor.advance(word.size());
    } else if (word == ".entry") {
      cursor.advance(word.size());
      cursor.skip_space();
      auto kernel = std::make_unique<Kernel>();
      kernel->module = this;
      kernel->name = cursor.word();
      cursor.advance(kernel->name.size());
      kernel->text = cursor.at();
      cursor.skip_braces();
      kernels[kernel->name] = std::move(kernel);
    } else if (word == ".global" || word == ".const" || word == ".shared") {
      const Declaration variable(cursor.take_until(';'));
      if (word != ".shared") {
        variables[variable.name] = variable.initial();
      } else if (variable.count == 0) {
        dynamic_shared.insert(variable.name);
      } else {
        place(variable, shared, shared_bytes);
      }
    } else {
      refuse("the directive '" + word + "' near: " + text.substr(cursor.at(), 80));
    }
  }
}

Kernel* Module::find(const string& name) {
  const auto found = kernels.find(name);
  if (found == kernels.end()) return nullptr;
  Kernel& kernel = *found->second;
  if (!kernel.parsed) KernelParser(*this, kernel).parse();
  return &kernel;
}

}  // namespace ptx
