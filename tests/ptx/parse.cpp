// PTX text into kernels.
#include <cctype>
#include <cstring>
#include <set>

#include "machine.h"

namespace ptx {
namespace {

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '$' || c == '%' ||
         c == '.';
}

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts;
  std::string part;
  int depth = 0;
  for (const char c : text) {
    if (c == '{' || c == '[' || c == '(') ++depth;
    if (c == '}' || c == ']' || c == ')') --depth;
    if (c == at && depth == 0) {
      parts.push_back(part);
      part.clear();
    } else {
      part += c;
    }
  }
  parts.push_back(part);
  return parts;
}

std::string trim(const std::string& text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

struct Register {
  uint32_t at;
  Class cls;
};

class Parser {
 public:
  explicit Parser(std::string text) : module_(std::make_unique<Module>()) {
    module_->text = std::move(text);
  }

  std::unique_ptr<Module> parse() {
    for (;;) {
      skip_space();
      if (at_ >= text().size()) break;
      const std::string word = peek_word();
      if (word == ".version" || word == ".target" || word == ".address_size") {
        at_ = line_end();
      } else if (word == ".file") {
        parse_file();
      } else if (word == ".section") {
        skip_section();
      } else if (word == ".visible" || word == ".weak" || word == ".extern") {
        at_ += word.size();
      } else if (word == ".entry") {
        parse_entry();
      } else if (word == ".global" || word == ".const" || word == ".shared") {
        parse_variable(word);
      } else {
        error("unknown directive '" + word + "'");
      }
    }
    return std::move(module_);
  }

 private:
  const std::string& text() const { return module_->text; }

  [[noreturn]] void error(const std::string& what) const {
    throw Error("ptx: " + what + " near: " + text().substr(at_, 160));
  }

  void skip_space() {
    while (at_ < text().size()) {
      if (std::isspace(static_cast<unsigned char>(text()[at_]))) {
        ++at_;
      } else if (text().compare(at_, 2, "//") == 0) {
        at_ = line_end();
      } else if (text().compare(at_, 2, "/*") == 0) {
        at_ = text().find("*/", at_) + 2;
      } else {
        break;
      }
    }
  }
  size_t line_end() const {
    const size_t end = text().find('\n', at_);
    return end == std::string::npos ? text().size() : end;
  }
  std::string peek_word() const {
    size_t end = at_;
    while (end < text().size() && is_word(text()[end])) ++end;
    return text().substr(at_, end - at_);
  }
  std::string take_until(const char* stops) {
    const size_t end = text().find_first_of(stops, at_);
    const std::string taken = text().substr(at_, end - at_);
    at_ = end;
    return taken;
  }

  void parse_file() {
    const std::string line = text().substr(at_, line_end() - at_);
    const size_t quote = line.find('"');
    const int number = std::atoi(line.c_str() + 5);
    module_->files[number] = line.substr(quote + 1, line.rfind('"') - quote - 1);
    at_ = line_end();
  }
  void skip_section() {
    at_ = text().find('{', at_);
    int depth = 0;
    do {
      if (text()[at_] == '{') ++depth;
      if (text()[at_] == '}') --depth;
      ++at_;
    } while (depth > 0);
  }

  // .shared .align 4 .b8 name[64]; also .global with an initialiser.
  void parse_variable(const std::string& space) {
    const size_t end = text().find(';', at_);
    const std::string statement = text().substr(at_, end - at_);
    at_ = end + 1;
    declare(space, statement, shared_module_, shared_module_bytes_);
  }

  void declare(const std::string& space, const std::string& statement,
               std::map<std::string, uint32_t>& shared, uint32_t& bytes) {
    uint32_t align = 1, element = 1;
    std::string name;
    size_t at = 0;
    while (at < statement.size() && name.empty()) {
      while (at < statement.size() && std::isspace(static_cast<unsigned char>(statement[at]))) ++at;
      size_t stop = at;
      while (stop < statement.size() && is_word(statement[stop])) ++stop;
      const std::string word = statement.substr(at, stop - at);
      at = stop;
      if (word == ".align") {
        align = static_cast<uint32_t>(std::strtoul(statement.c_str() + at, nullptr, 10));
        while (std::isspace(static_cast<unsigned char>(statement[at]))) ++at;
        while (std::isdigit(static_cast<unsigned char>(statement[at]))) ++at;
      } else if (word.size() > 2 && word[0] == '.' &&
                 std::isdigit(static_cast<unsigned char>(word[2]))) {
        element = static_cast<uint32_t>(std::atoi(word.c_str() + 2)) / 8;
      } else if (!word.empty() && word[0] != '.') {
        name = word;
      } else if (word.empty()) {
        throw Error("ptx: variable not understood: " + statement);
      }
    }
    uint64_t count = 1;
    if (at < statement.size() && statement[at] == '[') {
      count = std::strtoull(statement.c_str() + at + 1, nullptr, 10);  // 0: []
    }
    if (space == ".shared") {
      if (count == 0) {
        dynamic_shared_.insert(name);
        return;
      }
      bytes = (bytes + align - 1) / align * align;
      shared[name] = bytes;
      bytes += static_cast<uint32_t>(element * count);
    } else {
      module_->variables[name] = std::vector<uint8_t>(element * count, 0);
    }
  }

  // ---- one kernel

  void parse_entry() {
    at_ += 6;
    skip_space();
    auto kernel = std::make_unique<Kernel>();
    kernel->module = module_.get();
    kernel->name = peek_word();
    at_ += kernel->name.size();
    kernel_ = kernel.get();
    registers_.assign(1, {});
    labels_.clear();
    jumps_.clear();
    constants_.clear();
    shared_ = shared_module_;
    kernel_->static_shared = shared_module_bytes_;
    line_ = file_ = 0;
    skip_space();
    if (text()[at_] == '(') {
      ++at_;
      const std::string list = take_until(")");
      ++at_;
      for (const std::string& parameter : split(list, ',')) parse_parameter(trim(parameter));
    }
    for (;;) {
      skip_space();
      const std::string word = peek_word();
      if (text()[at_] == '{') break;
      if (word == ".maxntid") {
        int x = 1, y = 1, z = 1;
        std::sscanf(text().c_str() + at_ + 8, " %d , %d , %d", &x, &y, &z);
        kernel_->max_threads = x * y * z;
      }
      if (word.empty()) error("entry");
      at_ = line_end();
    }
    ++at_;
    parse_body();
    for (const auto& [index, label] : jumps_) {
      const auto found = labels_.find(label);
      if (found == labels_.end()) throw Error("ptx: no label " + label);
      kernel_->code[index].target = found->second;
    }
    // Running off the end is a return.
    Instruction end;
    end.kind = Kind::kExit;
    kernel_->code.push_back(end);
    fill_initial();
    // Dynamic shared memory follows the static one, at a multiple of 16.
    kernel_->static_shared = (kernel_->static_shared + 15) / 16 * 16;
    module_->kernels[kernel->name] = std::move(kernel);
  }

  void parse_parameter(const std::string& text) {
    if (text.empty()) return;
    uint32_t align = 0, element = 1, count = 1;
    std::string name;
    for (const std::string& word : split(squeeze(text), ' ')) {
      if (word == ".param" || word == ".ptr" || word == ".global" || word.empty()) continue;
      if (word == ".align") {
        align = ~0u;
      } else if (align == ~0u) {
        align = static_cast<uint32_t>(std::atoi(word.c_str()));
      } else if (word[0] == '.') {
        element = static_cast<uint32_t>(std::atoi(word.c_str() + 2)) / 8;
      } else {
        const size_t bracket = word.find('[');
        name = word.substr(0, bracket);
        if (bracket != std::string::npos) count = std::atoi(word.c_str() + bracket + 1);
      }
    }
    if (align == 0) align = element;
    uint32_t& at = kernel_->parameter_bytes;
    at = (at + align - 1) / align * align;
    kernel_->parameters.push_back({name, at, element * count});
    at += element * count;
  }

  static std::string squeeze(const std::string& text) {
    std::string out;
    for (const char c : text) {
      if (std::isspace(static_cast<unsigned char>(c))) {
        if (!out.empty() && out.back() != ' ') out += ' ';
      } else {
        out += c;
      }
    }
    return out;
  }

  void parse_body() {
    int depth = 1;
    while (depth > 0) {
      skip_space();
      if (text()[at_] == '{') {
        ++depth;
        ++at_;
        registers_.emplace_back();
        continue;
      }
      if (text()[at_] == '}') {
        --depth;
        ++at_;
        registers_.pop_back();
        continue;
      }
      if (text()[at_] == ';') {
        ++at_;
        continue;
      }
      const std::string word = peek_word();
      if (word == ".loc") {
        std::sscanf(text().c_str() + at_ + 4, " %d %d", &file_, &line_);
        at_ = line_end();
        continue;
      }
      if (word == ".pragma") {
        at_ = text().find(';', at_) + 1;
        continue;
      }
      if (!word.empty() && word[0] != '.' && text()[at_ + word.size()] == ':') {
        labels_[word] = static_cast<int>(kernel_->code.size());
        at_ += word.size() + 1;
        continue;
      }
      const size_t start = at_;
      std::string statement;  // without comments
      while (text()[at_] != ';') {
        if (text().compare(at_, 2, "//") == 0) at_ = line_end();
        statement += text()[at_++];
      }
      ++at_;
      if (word == ".reg") {
        parse_registers(trim(statement));
      } else if (word == ".shared") {
        declare(".shared", statement, shared_, kernel_->static_shared);
      } else {
        try {
          parse_instruction(trim(statement), start);
        } catch (const Error& e) {
          throw Error(std::string(e.what()) + " in: " + trim(statement) + " of " + kernel_->name);
        }
      }
    }
  }

  uint32_t allocate(Class cls) {
    const uint32_t bytes = cls == Class::kPredicate ? 4 : cls == Class::kWord ? 128 : 256;
    uint32_t& at = kernel_->file_bytes;
    if (cls != Class::kPredicate) at = (at + 63) / 64 * 64;
    const uint32_t here = at;
    at += bytes;
    return here;
  }

  void parse_registers(const std::string& statement) {
    size_t at = 4;
    while (std::isspace(static_cast<unsigned char>(statement[at]))) ++at;
    size_t stop = at;
    while (!std::isspace(static_cast<unsigned char>(statement[stop]))) ++stop;
    const std::string type = statement.substr(at, stop - at);
    const Class cls = type == ".pred"                              ? Class::kPredicate
                      : type.size() >= 3 && type.substr(2) == "64" ? Class::kLong
                                                                   : Class::kWord;
    for (std::string name : split(statement.substr(stop), ',')) {
      name = trim(name);
      const size_t angle = name.find('<');
      if (angle == std::string::npos) {
        registers_.back()[name] = {allocate(cls), cls};
      } else {
        const int count = std::atoi(name.c_str() + angle + 1);
        const std::string stem = name.substr(0, angle);
        for (int i = 0; i < count; ++i) {
          registers_.back()[stem + std::to_string(i)] = {allocate(cls), cls};
        }
      }
    }
  }

  const Register* find_register(const std::string& name) const {
    for (auto scope = registers_.rbegin(); scope != registers_.rend(); ++scope) {
      const auto found = scope->find(name);
      if (found != scope->end()) return &found->second;
    }
    return nullptr;
  }

  uint32_t constant(uint64_t bits, Class cls) {
    const auto [found, added] = constants_.try_emplace({bits, cls}, 0);
    if (added) found->second = allocate(cls);
    return found->second;
  }

  void fill_initial() {
    kernel_->file_bytes = (kernel_->file_bytes + 63) / 64 * 64;
    kernel_->initial.assign(kernel_->file_bytes, 0xFF);  // a NaN, -1, true
    for (const auto& [key, at] : constants_) {
      const auto& [bits, cls] = key;
      uint8_t* to = kernel_->initial.data() + at;
      if (cls == Class::kPredicate) {
        const uint32_t word = bits != 0 ? kAll : 0;
        std::memcpy(to, &word, 4);
      } else if (cls == Class::kWord) {
        const auto word = static_cast<uint32_t>(bits);
        for (int l = 0; l < kLanes; ++l) std::memcpy(to + 4 * l, &word, 4);
      } else {
        for (int l = 0; l < kLanes; ++l) std::memcpy(to + 8 * l, &bits, 8);
      }
    }
  }

  // The value of a literal or of a name that stands for an address.
  bool literal(const std::string& word, uint64_t* bits) {
    if (word.empty()) return false;
    if (word.size() == 10 && (word[1] == 'f' || word[1] == 'F') && word[0] == '0') {
      *bits = std::strtoull(word.c_str() + 2, nullptr, 16);
      return true;
    }
    if (word.size() == 18 && (word[1] == 'd' || word[1] == 'D') && word[0] == '0') {
      *bits = std::strtoull(word.c_str() + 2, nullptr, 16);
      return true;
    }
    if (std::isdigit(static_cast<unsigned char>(word[0])) || word[0] == '-') {
      char* end = nullptr;
      const bool negative = word[0] == '-';
      const uint64_t value = std::strtoull(word.c_str() + negative, &end, 0);
      if (*end != '\0' && *end != 'U') throw Error("ptx: literal " + word);
      *bits = negative ? -value : value;
      return true;
    }
    if (const auto found = shared_.find(word); found != shared_.end()) {
      *bits = found->second;
      return true;
    }
    if (dynamic_shared_.count(word)) {
      *bits = (kernel_->static_shared + 15) / 16 * 16;  // all static ones are declared before
      return true;
    }
    for (const Parameter& parameter : kernel_->parameters) {
      if (parameter.name == word) {
        *bits = parameter.offset;
        return true;
      }
    }
    if (const auto found = module_->variables.find(word); found != module_->variables.end()) {
      *bits = reinterpret_cast<uint64_t>(found->second.data());
      return true;
    }
    return false;
  }

  // Where an operand's value lies. `cls` is what the instruction wants.
  uint32_t operand(const std::string& word, Class cls, bool any_class = false,
                   Class* found_class = nullptr) {
    if (word == "_") {  // a sink
      if (found_class) *found_class = cls;
      return allocate(cls);
    }
    if (const Register* found = find_register(word)) {
      if (found_class) *found_class = found->cls;
      if (!any_class && found->cls != cls) throw Error("ptx: class of register " + word);
      return found->at;
    }
    if (found_class) *found_class = cls;
    if (word[0] == '%') {
      const auto [found, added] = kernel_->special.try_emplace(word, 0);
      if (added) {
        if (word == "%clock64" || word == "%globaltimer") throw Error("ptx: " + word);
        found->second = allocate(Class::kWord);
      }
      if (cls == Class::kLong) throw Error("ptx: class of " + word);
      return found->second;
    }
    uint64_t bits = 0;
    if (!literal(word, &bits)) throw Error("ptx: operand '" + word + "'");
    return constant(bits, cls);
  }

  // [register + number] into a and offset. The base has 32 bits in shared memory, else 64.
  void address(const std::string& text, bool shared, Instruction& i) {
    if (text.size() < 2 || text[0] != '[') throw Error("ptx: address '" + text + "'");
    std::string inner = trim(text.substr(1, text.size() - 2));
    const size_t plus = inner.find('+');
    if (plus != std::string::npos) {
      i.offset = std::strtoll(trim(inner.substr(plus + 1)).c_str(), nullptr, 0);
      inner = trim(inner.substr(0, plus));
    }
    if (find_register(inner)) {
      i.a = operand(inner, shared ? Class::kWord : Class::kLong, shared, &i.source_class);
      return;
    }
    i.source_class = Class::kLong;
    uint64_t bits = 0;
    if (!literal(inner, &bits)) throw Error("ptx: address '" + text + "'");
    i.a = constant(bits, Class::kLong);
  }

  std::vector<std::string> elements(const std::string& text) const {
    if (text[0] != '{') return {text};
    std::vector<std::string> list;
    for (const std::string& word : split(text.substr(1, text.size() - 2), ',')) {
      list.push_back(trim(word));
    }
    return list;
  }

  static Class class_of(const std::string& type) {
    if (type == "pred") return Class::kPredicate;
    return type.size() == 3 && type.substr(1) == "64" ? Class::kLong : Class::kWord;
  }

  void parse_instruction(std::string statement, size_t start) {
    Instruction i;
    i.line = line_;
    i.file = file_;
    i.text = static_cast<uint32_t>(start);
    if (statement[0] == '@') {
      size_t end = 1;
      while (!std::isspace(static_cast<unsigned char>(statement[end]))) ++end;
      std::string name = statement.substr(1, end - 1);
      if (name[0] == '!') {
        i.guard_negated = true;
        name = name.substr(1);
      }
      i.has_guard = true;
      i.guard = operand(name, Class::kPredicate);
      statement = trim(statement.substr(end));
    }
    size_t end = 0;
    while (end < statement.size() && !std::isspace(static_cast<unsigned char>(statement[end])))
      ++end;
    const std::string opcode = statement.substr(0, end);
    std::vector<std::string> operands;
    if (end < statement.size()) {
      for (const std::string& word : split(statement.substr(end), ','))
        operands.push_back(trim(word));
    }
    const std::vector<std::string> parts = split(opcode, '.');
    const std::string& base = parts[0];
    const std::string& type = parts.back();
    const auto has = [&](const char* part) {
      for (const std::string& p : parts) {
        if (p == part) return true;
      }
      return false;
    };
    const auto need = [&](size_t count) {
      if (operands.size() != count) throw Error("ptx: operands of " + opcode);
    };
    const auto act = [&](const std::string& name) {
      i.action = find_action(name);
      if (i.action == nullptr) throw Error("ptx: no instruction " + opcode + " (" + name + ")");
    };

    if (base == "bra") {
      i.kind = Kind::kBranch;
      jumps_.emplace_back(kernel_->code.size(), operands.at(0));
    } else if (base == "ret" || base == "exit") {
      i.kind = Kind::kExit;
    } else if (base == "ld" || base == "st" || base == "atom" || base == "red") {
      memory(base, parts, operands, i);
    } else if (base == "ldmatrix") {
      need(2);
      i.kind = Kind::kAligned;
      if (!has("m8n8") || !has("x4") || !has("shared") || type != "b16")
        throw Error("ptx: " + opcode);
      act(has("trans") ? "ldmatrix.trans" : "ldmatrix");
      const auto list = elements(operands[0]);
      for (int k = 0; k < 4; ++k) i.list[k] = operand(list.at(k), Class::kWord);
      address(operands[1], true, i);
    } else if (base == "mma") {
      need(4);
      i.kind = Kind::kAligned;
      if (opcode != "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32")
        throw Error("ptx: " + opcode);
      act("mma.m16n8k16.bf16");
      const auto d = elements(operands[0]), a = elements(operands[1]), b = elements(operands[2]),
                 c = elements(operands[3]);
      for (int k = 0; k < 4; ++k) i.list[k] = operand(d.at(k), Class::kWord);
      for (int k = 0; k < 4; ++k) i.list[4 + k] = operand(c.at(k), Class::kWord);
      for (int k = 0; k < 4; ++k) i.list2[k] = operand(a.at(k), Class::kWord);
      for (int k = 0; k < 2; ++k) i.list2[4 + k] = operand(b.at(k), Class::kWord);
    } else if (base == "cp") {
      if (has("commit_group")) {
        act("cp.commit");
      } else if (has("wait_group")) {
        act("cp.wait");
        uint64_t bits = 0;
        literal(operands.at(0), &bits);
        i.offset = static_cast<int64_t>(bits);
      } else if (has("wait_all")) {
        act("cp.wait");
        i.offset = -1;
      } else {
        // cp.async.ca.shared.global [to], [from], bytes {, bytes of the source};
        act("cp.async");
        if (operands.size() < 3 || operands.size() > 4) throw Error("ptx: operands of " + opcode);
        Instruction from;
        address(operands[1], false, from);
        address(operands[0], true, i);
        i.b = from.a;
        if (from.offset != 0) throw Error("ptx: cp.async with an offset");
        uint64_t bits = 0;
        literal(operands[2], &bits);
        i.bytes = static_cast<uint8_t>(bits);
        i.c = operands.size() == 4 ? operand(operands[3], Class::kWord)
                                   : constant(bits, Class::kWord);
      }
    } else if (base == "bar" && parts[1] == "warp") {
      need(1);
      i.kind = Kind::kSync;
      i.e = operand(operands[0], Class::kWord);
      act("bar.warp.sync");
    } else if (base == "bar" || base == "barrier") {
      i.kind = Kind::kBarrier;
      if (has("sync")) {
        need(1);
        i.offset = 0;
      } else if (has("red")) {
        need(3);
        i.offset = has("popc") ? 1 : has("or") ? 2 : 3;
        i.d = operand(operands[0], has("popc") ? Class::kWord : Class::kPredicate);
        std::string p = operands[2];
        if (p[0] == '!') i.negated = true, p = trim(p.substr(1));
        i.a = operand(p, Class::kPredicate);
        operands[0] = operands[1];
      } else {
        throw Error("ptx: " + opcode);
      }
      if (operands[0] != "0") throw Error("ptx: barrier " + operands[0]);
    } else if (base == "shfl") {
      need(5);
      i.kind = Kind::kSync;
      act("shfl." + parts[2]);
      const auto both = split(operands[0], '|');
      i.d = operand(trim(both[0]), Class::kWord);
      i.d2 =
          both.size() > 1 ? operand(trim(both[1]), Class::kPredicate) : allocate(Class::kPredicate);
      i.a = operand(operands[1], Class::kWord);
      i.b = operand(operands[2], Class::kWord);
      i.c = operand(operands[3], Class::kWord);
      i.e = operand(operands[4], Class::kWord);
    } else if (base == "vote") {
      need(3);
      i.kind = Kind::kSync;
      const std::string mode = has("ballot") ? "ballot" : has("any") ? "any" : "all";
      act("vote." + mode);
      i.d = operand(operands[0], mode == "ballot" ? Class::kWord : Class::kPredicate);
      std::string p = operands[1];
      if (p[0] == '!') i.negated = true, p = trim(p.substr(1));
      i.a = operand(p, Class::kPredicate);
      i.e = operand(operands[2], Class::kWord);
    } else if (base == "match" || base == "redux") {
      need(3);
      i.kind = Kind::kSync;
      act(base + "." + (base == "match" ? "any." + type : parts[2] + "." + type));
      i.d = operand(operands[0], Class::kWord);
      i.a = operand(operands[1], class_of(type));
      i.e = operand(operands[2], Class::kWord);
    } else if (base == "membar" || base == "fence" || base == "nanosleep" || base == "prefetch") {
      act("nop");
    } else if (base == "trap") {
      act("trap");
    } else if (base == "cvta") {
      need(2);
      act("mov.b64");
      if (parts[1] == "shared" || parts[2] == "shared") throw Error("ptx: " + opcode);
      i.d = operand(operands[0], Class::kLong);
      i.a = operand(operands[1], Class::kLong);
    } else if (base == "mov" && (operands[0][0] == '{' || operands[1][0] == '{')) {
      need(2);
      const bool unpack = operands[0][0] == '{';
      const auto list = elements(operands[unpack ? 0 : 1]);
      if (list.size() != 2) throw Error("ptx: " + opcode);
      act(std::string(unpack ? "unpack." : "pack.") + type);
      for (int k = 0; k < 2; ++k) i.list[k] = operand(list[k], Class::kWord);
      (unpack ? i.a : i.d) = operand(operands[unpack ? 1 : 0], class_of(type));
    } else if (base == "cvt") {
      convert(parts, operands, i);
    } else if (base == "setp") {
      need(3);
      act("setp." + parts[1] + "." + type);
      if (parts.size() != 3) throw Error("ptx: " + opcode);
      const auto both = split(operands[0], '|');
      if (both.size() > 1) throw Error("ptx: " + opcode);
      i.d = operand(operands[0], Class::kPredicate);
      i.a = operand(operands[1], class_of(type));
      i.b = operand(operands[2], class_of(type));
    } else if (base == "selp") {
      need(4);
      act(class_of(type) == Class::kLong ? "selp.b64" : "selp.b32");
      i.d = operand(operands[0], class_of(type));
      i.a = operand(operands[1], class_of(type));
      i.b = operand(operands[2], class_of(type));
      i.c = operand(operands[3], Class::kPredicate);
    } else if (base == "mov") {
      need(2);
      act(type == "pred" ? "mov.pred" : class_of(type) == Class::kLong ? "mov.b64" : "mov.b32");
      i.d = operand(operands[0], class_of(type));
      i.a = operand(operands[1], class_of(type));
    } else {
      arithmetic(opcode, parts, operands, i);
    }
    kernel_->code.push_back(i);
  }

  void memory(const std::string& base, const std::vector<std::string>& parts,
              const std::vector<std::string>& operands, Instruction& i) {
    std::string space = "generic", type, operation, sem;
    for (size_t k = 1; k < parts.size(); ++k) {
      const std::string& part = parts[k];
      if (part == "global" || part == "shared" || part == "param") {
        space = part;
      } else if (part == "local" || part == "const") {
        throw Error("ptx: space " + part);
      } else if (part == "v2") {
        i.width = 2;
      } else if (part == "v4") {
        i.width = 4;
      } else if (k + 1 == parts.size()) {
        type = part;
      } else if (part == "add" || part == "min" || part == "max" || part == "exch" ||
                 part == "cas" || part == "and" || part == "or" || part == "xor" || part == "inc") {
        operation = part;
      } else if (part != "volatile" && part != "relaxed" && part != "acquire" &&
                 part != "release" && part != "gpu" && part != "cta" && part != "sys" &&
                 part != "cg" && part != "ca" && part != "cs" && part != "nc" && part != "cv" &&
                 part != "wt" && part != "lu" && part != "wb" && part != "acq_rel" &&
                 part != "cluster" && part.substr(0, 2) != "L1" && part.substr(0, 2) != "L2") {
        throw Error("ptx: modifier " + part);
      }
    }
    const bool shared = space == "shared";
    i.bytes = static_cast<uint8_t>(std::atoi(type.c_str() + 1) / 8);
    i.sign = type[0] == 's';
    if (base == "ld" || base == "st") {
      if (operands.size() != 2) throw Error("ptx: operands");
      const bool load = base == "ld";
      const auto list = elements(operands[load ? 0 : 1]);
      if (list.size() != i.width) throw Error("ptx: vector");
      for (size_t k = 0; k < list.size(); ++k) {
        Class cls;
        i.list[k] = operand(list[k], class_of(type), true, &cls);
        if (k > 0 && cls != i.value_class) throw Error("ptx: mixed vector");
        i.value_class = cls;
      }
      address(operands[load ? 1 : 0], shared, i);
      i.action = find_action(base + "." + space);
    } else {
      const bool atom = base == "atom";
      const size_t first = atom ? 1 : 0;
      if (operands.size() < first + 2) throw Error("ptx: operands");
      address(operands[first], shared, i);
      const auto list = elements(operands[first + 1]);
      if (list.size() != i.width) throw Error("ptx: vector");
      for (size_t k = 0; k < list.size(); ++k) i.list[k] = operand(list[k], class_of(type));
      if (operation == "cas") i.c = operand(operands.at(first + 2), class_of(type));
      i.d = atom ? operand(operands[0], class_of(type)) : allocate(class_of(type));
      i.action = find_action("atom." + operation + "." + type + (shared ? ".shared" : ""));
    }
    if (i.action == nullptr)
      throw Error("ptx: no instruction " + base + " " + space + " " + operation + " " + type);
  }

  void convert(const std::vector<std::string>& parts, const std::vector<std::string>& operands,
               Instruction& i) {
    if (parts.back() == "f32" && parts[parts.size() - 2] == "bf16x2") {
      if (operands.size() != 3 || parts[1] != "rn" || parts.size() != 4)
        throw Error("ptx: cvt bf16x2");
      i.action = find_action("cvt.bf16x2");
      i.d = operand(operands[0], Class::kWord);
      i.a = operand(operands[1], Class::kWord);
      i.b = operand(operands[2], Class::kWord);
      return;
    }
    if (operands.size() != 2) throw Error("ptx: operands of cvt");
    const std::string &to = parts[parts.size() - 2], &from = parts.back();
    const bool to_float = to[0] == 'f', from_float = from[0] == 'f';
    std::string name = "cvt";
    for (size_t k = 1; k + 2 < parts.size(); ++k) name += "." + parts[k];
    if (!to_float && !from_float) {
      // Between integers: extend or cut. e: bytes of the narrower one of source and target.
      name = "cvt.integer";
      if (parts.size() != 3) throw Error("ptx: cvt");
      i.bytes = static_cast<uint8_t>(std::atoi(from.c_str() + 1) / 8);
      i.sign = from[0] == 's';
      i.e = static_cast<uint32_t>(std::atoi(to.c_str() + 1) / 8);
      i.negated = to[0] == 's';
    } else {
      name += "." + to + "." + from;
    }
    i.action = find_action(name);
    if (i.action == nullptr) throw Error("ptx: no instruction " + name);
    i.d = operand(operands[0], class_of(to), !to_float, &i.value_class);
    i.a = operand(operands[1], class_of(from), !from_float, &i.source_class);
  }

  void arithmetic(const std::string& opcode, const std::vector<std::string>& parts,
                  const std::vector<std::string>& operands, Instruction& i) {
    const std::string& base = parts[0];
    const std::string& type = parts.back();
    i.action = find_action(opcode);
    if (i.action == nullptr) throw Error("ptx: no instruction " + opcode);
    Class result = class_of(type), third = class_of(type), second = class_of(type);
    Class first = class_of(type);
    if (parts.size() > 1 && parts[1] == "wide") {
      result = third = type[1] == '1' ? Class::kWord : Class::kLong;
    }
    if (base == "popc" || base == "clz" || base == "bfind") result = Class::kWord;
    if (base == "shl" || base == "shr" || base == "bfe") second = third = Class::kWord;
    i.d = operand(operands.at(0), result);
    if (base == "bfi") {
      if (operands.size() != 5) throw Error("ptx: operands of bfi");
      i.a = operand(operands[1], first);
      i.b = operand(operands[2], first);
      i.c = operand(operands[3], Class::kWord);
      i.e = operand(operands[4], Class::kWord);
      return;
    }
    size_t want = 2;
    if (operands.size() > 4) throw Error("ptx: operands of " + opcode);
    i.a = operand(operands.at(1), first);
    if (operands.size() > 2) i.b = operand(operands[2], second), want = 3;
    if (operands.size() > 3) i.c = operand(operands[3], third), want = 4;
    if (operands.size() != want) throw Error("ptx: operands of " + opcode);
  }

  std::unique_ptr<Module> module_;
  size_t at_ = 0;
  Kernel* kernel_ = nullptr;
  std::map<std::string, uint32_t> shared_module_, shared_;
  uint32_t shared_module_bytes_ = 0;
  std::set<std::string> dynamic_shared_;
  std::vector<std::unordered_map<std::string, Register>> registers_;
  std::unordered_map<std::string, int> labels_;
  std::vector<std::pair<size_t, std::string>> jumps_;
  std::map<std::pair<uint64_t, Class>, uint32_t> constants_;
  int line_ = 0, file_ = 0;
};

}  // namespace

std::unique_ptr<Module> parse_module(std::string text) { return Parser(std::move(text)).parse(); }

}  // namespace ptx
