using System.Globalization;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>Images of a large disk that have a cluster or two, in a folder of their own.</summary>
/// <param name="sizeBytes">The disk's size.</param>
/// <param name="clusterBytes">The size of their clusters.</param>
internal sealed class SparseDisk(long sizeBytes, int clusterBytes) : IDisposable
{
    private const long OfGibibyte = 1L << 30;
    private const int WrittenBytes = 4096;

    private readonly TempFolder _folder = TempFolder.InMemory();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public string File(string name) => _folder.File(name);

    /// <summary>Makes images.</summary>
    /// <param name="images">Their names, each with the backing file's (<c>top&lt;base</c>) and with options: <c>/v2</c>, <c>/8G</c> for a
    /// size of its own, <c>/empty</c>, <c>/b</c> for a recording bitmap.</param>
    public async Task MakeAsync(string images)
    {
        foreach (string image in images.Split(' ', StringSplitOptions.RemoveEmptyEntries))
        {
            string[] names = image.Split('/')[0].Split('<');
            string[] options = image.Split('/')[1..];
            var create = new Qcow2CreateOptions
            {
                SizeBytes = options.Contains("8G") ? 8 * OfGibibyte : sizeBytes,
                ClusterSizeBytes = clusterBytes,
                Version = options.Contains("v2") ? 2 : 3,
                BackingFile = names.Length > 1 ? names[1] : null,
                BackingFormat = names.Length > 1 ? ImageFormat.Qcow2 : null,
            };
            await Qcow2Image.CreateAsync(File(names[0]), create, Token);
            if (!options.Contains("empty"))
            {
                await WriteAsync(names[0], 3);
            }

            if (options.Contains("b"))
            {
                await Support.Cli.OkAsync("bitmap", "--add", "-g", "2M", File(names[0]), "b0");
            }
        }
    }

    /// <summary>Writes 4 KiB to an image's disk.</summary>
    public async Task WriteAsync(string image, int atGibibyte)
    {
        await using ImageChain chain = await ImageChain.OpenAsync(File(image), new ChainOpenOptions { WritableLayers = [0] }, Token);
        await using Disk writer = await chain.OpenWriterAsync(Token);
        var bytes = new byte[WrittenBytes];
        bytes.AsSpan().Fill(7);
        await writer.WriteAsync(atGibibyte * OfGibibyte, bytes, Token);
    }

    /// <summary>
    /// Does steps, one behind the other with semicolons between: <c>write IMAGE</c>, or a command of the
    /// tool with <c>@</c> before files' names.
    /// </summary>
    public async Task DoAsync(string steps)
    {
        foreach (string step in steps.Split(';', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
        {
            string[] words = [.. step.Split(' ').Select(Translate)];
            if (words[0] == "write")
            {
                await WriteAsync(words[1], 5);
            }
            else
            {
                await Support.Cli.OkAsync(words);
            }
        }
    }

    public void Dispose() => _folder.Dispose();

    private string Translate(string word) => word
        .Replace("''", "", StringComparison.Ordinal)
        .Replace("@", _folder.Path + "/", StringComparison.Ordinal)
        .Replace("SIZE", sizeBytes.ToString(CultureInfo.InvariantCulture), StringComparison.Ordinal)
        .Replace("HALF", (sizeBytes / 2).ToString(CultureInfo.InvariantCulture), StringComparison.Ordinal)
        .Replace("CLUSTER", clusterBytes.ToString(CultureInfo.InvariantCulture), StringComparison.Ordinal);
}
