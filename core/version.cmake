# Writes version.cpp, touching it only when its text changes.
execute_process(COMMAND git -C ${SOURCE} describe --always --dirty --abbrev=12 --exclude=*
                OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT commit)
  set(commit unknown)
endif()
set(text "#include \"core/version.h\"\n\nnamespace nibble {\nconst char* version() { return \"${VERSION}\"; }\nconst char* commit() { return \"${commit}\"; }\n}  // namespace nibble\n")
set(old "")
if(EXISTS ${OUT})
  file(READ ${OUT} old)
endif()
if(NOT old STREQUAL text)
  file(WRITE ${OUT} "${text}")
endif()
