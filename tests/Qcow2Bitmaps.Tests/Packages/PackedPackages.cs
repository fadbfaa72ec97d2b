using Qcow2Bitmaps.Tests.Documents;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Packages;

/// <summary>
/// The packages, packed once for all tests of the class, in a folder of their own: nothing in the
/// repository's <c>bin</c> and <c>obj</c> is touched.
/// </summary>
public sealed class PackedPackages : IAsyncLifetime
{
    // No feed has it, and no cache of an earlier run.
    private static readonly string s_version = $"0.2.0-test.{Guid.NewGuid():N}";

    private readonly TempFolder _folder = new();

    public string Version => s_version;

    /// <summary>Where the packages are.</summary>
    public string Feed => _folder.File("feed");

    public async ValueTask InitializeAsync()
    {
        foreach (string project in new[] { "Qcow2Bitmaps", "Qcow2Bitmaps.Cli" })
        {
            await DotNet.OkAsync(
                Document.Root,
                null,
                "pack", $"src/{project}/{project}.csproj", "-c", "Release", "-o", Feed, "--artifacts-path", _folder.File("artifacts"),
                $"-p:Version={s_version}", "-p:ContinuousIntegrationBuild=true", "-p:RunAnalyzers=false", "-p:UseSharedCompilation=false",
                "-v", "quiet");
        }
    }

    public ValueTask DisposeAsync()
    {
        _folder.Dispose();
        return ValueTask.CompletedTask;
    }

    internal string File(string name) => _folder.File(name);
}
