#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/config.h"

namespace nibble {

/// What can be built from an object with a "type": name -> constructor, options and one sentence for the reference.
/// One registry per base class; classes register themselves with NIBBLE_REGISTER, users' classes included.
template <class Base>
class Registry {
 public:
  struct Entry {
    std::string doc;
    std::function<std::shared_ptr<Base>(const Config&)> make;
    std::vector<FieldDoc> fields;
  };

  static Registry& get() {
    static Registry registry;
    return registry;
  }

  void add(const std::string& name, Entry entry) {
    NIBBLE_CHECK(entries_.emplace(name, std::move(entry)).second, "registry: '", name, "' is registered twice");
  }

  const std::map<std::string, Entry>& entries() const { return entries_; }

  const Entry& find(const Config& config) const {
    const std::string type = config.type();
    const auto found = entries_.find(type);
    if (found != entries_.end()) return found->second;
    std::vector<std::string> names;
    std::string list;
    for (const auto& [name, entry] : entries_) {
      names.push_back(name);
      list += (list.empty() ? "" : ", ") + name;
    }
    const auto guess = closest(type, names);
    config.at("type").fail("unknown type '" + type + "'" + (guess ? ", did you mean '" + *guess + "'?" : "") +
                           " (known: " + list + ")");
  }

  /// Builds what config.type() names. Throws UsageError on an unknown type or bad options.
  std::shared_ptr<Base> make(const Config& config) const { return find(config).make(config); }

 private:
  std::map<std::string, Entry> entries_;
};

/// Registers Derived, which has `struct Options` with fields() and a constructor from const Options&.
template <class Base, class Derived>
struct Registrar {
  Registrar(const char* name, const char* doc) {
    using Options = typename Derived::Options;
    Registry<Base>::get().add(name, {doc,
                                     [](const Config& config) -> std::shared_ptr<Base> {
                                       const Options options = read_options<Options>(config);
                                       try {
                                         return std::make_shared<Derived>(options);
                                       } catch (const UsageError&) {
                                         throw;
                                       } catch (const Error& error) {
                                         config.fail(error.what());
                                       }
                                     },
                                     list_options<Options>()});
  }
};

}  // namespace nibble

#define NIBBLE_JOIN_(a, b) a##b
#define NIBBLE_JOIN(a, b) NIBBLE_JOIN_(a, b)
/// NIBBLE_REGISTER(Layer, Relu, "relu", "max(x, 0)"): at namespace scope in the class's .cpp.
#define NIBBLE_REGISTER(Base, Derived, name, doc) \
  static const ::nibble::Registrar<Base, Derived> NIBBLE_JOIN(registrar_, __LINE__)(name, doc)
