using System.Security.Cryptography;

namespace Qcow2Bitmaps.Tests.Support;

/// <summary>The names and contents of a folder's files at a moment.</summary>
internal sealed class FolderContent
{
    private readonly string _path;
    private readonly string _content;

    private FolderContent(string path)
    {
        _path = path;
        _content = Read(path);
    }

    public static FolderContent Of(string path) => new(path);

    /// <summary>Asserts that the folder has what it had.</summary>
    public void AssertSame() => Assert.Equal(_content, Read(_path));

    private static string Read(string path) => string.Join(
        '\n',
        Directory.EnumerateFiles(path).Order(StringComparer.Ordinal).Select(
            static file => $"{Path.GetFileName(file)} {Convert.ToHexString(SHA256.HashData(File.ReadAllBytes(file)))}"));
}
