# Used by nibble's own build and, installed beside nibbleConfig.cmake, by programs that link to it.
include(CMakeFindDependencyMacro)
find_dependency(nlohmann_json 3.10)
find_dependency(OpenMP)
find_dependency(Threads)

# The OpenMP build of OpenBLAS, so that its threads and ours are one pool; Debian keeps the builds in folders side by
# side, and the run path must name this one because the default may be another.
if(NIBBLE_WITH_OPENBLAS)
  find_library(NIBBLE_OPENBLAS_LIBRARY openblas PATH_SUFFIXES openblas-openmp NO_CACHE
               HINTS /usr/lib/${CMAKE_LIBRARY_ARCHITECTURE}/openblas-openmp)
  find_path(NIBBLE_OPENBLAS_INCLUDE_DIR cblas.h NO_CACHE
            HINTS /usr/include/${CMAKE_LIBRARY_ARCHITECTURE}/openblas-openmp)
  if(NOT NIBBLE_OPENBLAS_LIBRARY OR NOT NIBBLE_OPENBLAS_INCLUDE_DIR)
    message(FATAL_ERROR "nibble: OpenBLAS not found (Debian: apt-get install libopenblas-openmp-dev), "
                        "or configure with -DNIBBLE_WITH_OPENBLAS=OFF")
  endif()
  if(NOT TARGET nibble_openblas)
    add_library(nibble_openblas SHARED IMPORTED GLOBAL)
    set_target_properties(nibble_openblas PROPERTIES IMPORTED_LOCATION ${NIBBLE_OPENBLAS_LIBRARY}
                          INTERFACE_INCLUDE_DIRECTORIES ${NIBBLE_OPENBLAS_INCLUDE_DIR})
  endif()
endif()
