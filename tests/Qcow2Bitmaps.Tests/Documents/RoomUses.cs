using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace Qcow2Bitmaps.Tests.Documents;

/// <summary>Finds which rooms use which, by the types that code really uses. Comments do not count.</summary>
/// <remarks>A name counts for the type that it means to the compiler, or whose member it means.</remarks>
internal static class RoomUses
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

    // The code of source generators is not there: halves of methods are missing, and give nothing to what they are to fill.
    private static readonly HashSet<string> s_generated = new(["CS8795", "CS9248", "CS0165"], StringComparer.Ordinal);

    /// <summary>Finds the uses.</summary>
    /// <param name="sources">All files of the library: paths below its folder, and texts.</param>
    /// <returns>Each use of a type of another room, once for a file.</returns>
    /// <exception cref="InvalidOperationException">The sources do not compile, so that names may mean nothing.</exception>
    public static IReadOnlyList<RoomUse> Find(IEnumerable<(string Path, string Text)> sources)
    {
        var options = new CSharpParseOptions(LanguageVersion.Preview);
        SyntaxTree[] trees = [.. sources.Select(source => CSharpSyntaxTree.ParseText(source.Text, options, source.Path))];
        var compilation = CSharpCompilation.Create(
            "Rooms",
            [CSharpSyntaxTree.ParseText(ImplicitUsings, options), .. trees],
            ((string)AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES")!).Split(Path.PathSeparator)
                .Where(static path => !Path.GetFileName(path).StartsWith(nameof(Qcow2Bitmaps), StringComparison.Ordinal))
                .Select(static path => MetadataReference.CreateFromFile(path)),
            new CSharpCompilationOptions(
                OutputKind.DynamicallyLinkedLibrary, allowUnsafe: true, nullableContextOptions: NullableContextOptions.Enable));
        Diagnostic[] errors = [.. compilation.GetDiagnostics()
            .Where(static diagnostic => diagnostic.Severity == DiagnosticSeverity.Error && !s_generated.Contains(diagnostic.Id))];
        if (errors.Length > 0)
        {
            throw new InvalidOperationException(string.Join('\n', errors.Take(5)));
        }

        return [.. trees.AsParallel().AsOrdered().SelectMany(tree => UsesOf(tree, compilation.GetSemanticModel(tree)))];
    }

    /// <summary>The room of a file.</summary>
    public static string RoomOf(string path) => Path.GetDirectoryName(path)!.Replace('\\', '/');

    private static IEnumerable<RoomUse> UsesOf(SyntaxTree tree, SemanticModel model)
    {
        string room = RoomOf(tree.FilePath);
        return
            from node in tree.GetRoot().DescendantNodes(static node => node is not UsingDirectiveSyntax)
            where node is SimpleNameSyntax or BaseObjectCreationExpressionSyntax
            let type = DeclaringType(model.GetSymbolInfo(node).Symbol)
            where type is { DeclaringSyntaxReferences: [var declaration, ..] } && declaration.SyntaxTree.FilePath.Length > 0
            group type.Name by (Room: RoomOf(type.DeclaringSyntaxReferences[0].SyntaxTree.FilePath), type.Name) into uses
            where uses.Key.Room != room
            select new RoomUse(room, uses.Key.Room, uses.Key.Name, tree.FilePath);
    }

    /// <summary>The outermost type that a name means, or whose member it means.</summary>
    private static INamedTypeSymbol? DeclaringType(ISymbol? symbol)
    {
        INamedTypeSymbol? type = symbol switch
        {
            IArrayTypeSymbol array => DeclaringType(array.ElementType),
            INamedTypeSymbol { IsGenericType: false } named => named,
            INamedTypeSymbol generic => generic.OriginalDefinition,
            IMethodSymbol { ReducedFrom: { } extension } => extension.ContainingType,
            IMethodSymbol or IPropertySymbol or IFieldSymbol or IEventSymbol => symbol.ContainingType?.OriginalDefinition,
            _ => null,
        };
        while (type?.ContainingType is { } outer)
        {
            type = outer.OriginalDefinition;
        }

        return type;
    }
}
