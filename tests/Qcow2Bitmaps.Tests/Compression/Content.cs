using System.Text;
using Qcow2Bitmaps.Tests.Hostile;

namespace Qcow2Bitmaps.Tests.Compression;

/// <summary>Contents of clusters of several kinds, the same in every run.</summary>
internal static class Content
{
    public static IReadOnlyList<string> Kinds { get; } = ["zeros", "random", "text", "repetitive", "short-periods", "skewed", "mixed"];

    public static byte[] Make(string kind, int length, ulong seed = 1)
    {
        var random = new SplitMix(seed);
        var content = new byte[length];
        switch (kind)
        {
            case "zeros":
                break;
            case "random":
                FillRandom(content, random);
                break;
            case "text":
                FillText(content, random);
                break;
            case "repetitive":
                // Of a period that is long for small clusters and for deflate, with a change now and then.
                FillRandom(content.AsSpan(0, Math.Min(length, 30_011)), random);
                for (int i = 30_011; i < length; i++)
                {
                    content[i] = random.Below(500) == 0 ? (byte)random.Below(256) : content[i - 30_011];
                }

                break;
            case "short-periods":
                for (int i = 0; i < length;)
                {
                    int period = 1 + random.Below(40);
                    int end = Math.Min(length, i + random.Below(300));
                    for (int start = i; i < end; i++)
                    {
                        content[i] = i - start < period ? (byte)random.Below(256) : content[i - period];
                    }
                }

                break;
            case "skewed":
                // Hardly any matches, and literals of very different lengths.
                for (int i = 0; i < length; i++)
                {
                    content[i] = (byte)((random.Below(1 << random.Below(9)) * 37) & 0xff);
                }

                break;
            default:
                int third = length / 3;
                FillText(content.AsSpan(0, third), random);
                FillRandom(content.AsSpan(third, third), random);
                content.AsSpan(0, third / 2).CopyTo(content.AsSpan(length - third));
                break;
        }

        return content;
    }

    private static void FillRandom(Span<byte> content, SplitMix random)
    {
        foreach (ref byte value in content)
        {
            value = unchecked((byte)random.Next());
        }
    }

    private static void FillText(Span<byte> content, SplitMix random)
    {
        var words = new byte[300][];
        for (int i = 0; i < words.Length; i++)
        {
            words[i] = Encoding.ASCII.GetBytes(
                string.Concat(Enumerable.Range(0, 2 + random.Below(9)).Select(_ => (char)('a' + random.Below(26)))) + " ");
        }

        while (!content.IsEmpty)
        {
            byte[] word = words[Math.Min(random.Below(words.Length), random.Below(words.Length))];
            int length = Math.Min(word.Length, content.Length);
            word.AsSpan(0, length).CopyTo(content);
            content = content[length..];
        }
    }
}
