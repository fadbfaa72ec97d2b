using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;

namespace Qcow2Bitmaps.Tests.Documents;

/// <summary>
/// Compiles a program of a document as a new project for .NET 10 would: with its implicit usings, and nullability checked.
/// </summary>
internal static class SnippetCompiler
{
    private const string ImplicitUsings =
        """
        global using System;
        global using System.Collections.Generic;
        global using System.IO;
        global using System.Linq;
        global using System.Net.Http;
        global using System.Threading;
        global using System.Threading.Tasks;
        """;

    private static readonly Lazy<MetadataReference[]> s_references = new(static () =>
    [
        .. ((string)AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES")!).Split(Path.PathSeparator)
            .Where(static path =>
                Path.GetFileName(path) is { } name && (name.StartsWith("System.", StringComparison.Ordinal) || name is "Qcow2Bitmaps.dll"))
            .Select(static path => MetadataReference.CreateFromFile(path)),
    ]);

    /// <summary>Compiles a program to a file.</summary>
    /// <returns>The errors and warnings; empty when it compiled.</returns>
    public static IReadOnlyList<string> Compile(string program, string assemblyPath)
    {
        var compilation = CSharpCompilation.Create(
            Path.GetFileNameWithoutExtension(assemblyPath),
            [CSharpSyntaxTree.ParseText(ImplicitUsings), CSharpSyntaxTree.ParseText(program)],
            s_references.Value,
            new CSharpCompilationOptions(OutputKind.ConsoleApplication, nullableContextOptions: NullableContextOptions.Enable));
        using FileStream file = File.Create(assemblyPath);
        return
        [
            .. compilation.Emit(file).Diagnostics
                .Where(static diagnostic => diagnostic.Severity >= DiagnosticSeverity.Warning)
                .Select(static diagnostic => diagnostic.ToString()),
        ];
    }
}
